/** Where stages live: per stage the rank that holds it. */

/** Stage s on rank s. */
export function linear(ranks: number): readonly number[] {
  return looped(ranks, 1)
}

/** Stage s on rank s mod p: every chunk begins again at rank 0, so that the last rank sends to the first. */
export function looped(ranks: number, chunks: number): readonly number[] {
  return Array.from({ length: ranks * chunks }, (_, stage) => stage % ranks)
}

/** Down the ranks and up again, chunk after chunk: what turns stays on its rank. With two chunks a V. */
export function wave(ranks: number, chunks: number): readonly number[] {
  return Array.from({ length: ranks * chunks }, (_, stage) => {
    const along = stage % ranks
    return Math.floor(stage / ranks) % 2 === 0 ? along : ranks - 1 - along
  })
}

/** The same seen from the last rank. */
export function mirrored(places: readonly number[], ranks: number): readonly number[] {
  return places.map(rank => ranks - 1 - rank)
}
