import { SkeinError } from '@skein/core'
import { families, type Family, ScheduleErrors, sizesOf } from '@skein/schedule'

/** A schedule as a job names it, and how much it may hold where it was searched for. */
export interface Alternative {
  readonly name: string
  /** Stages on each rank. */
  readonly chunks: number
  readonly slices: number
  /** Of the automatic schedule: the most microbatches that a rank may hold. */
  readonly cap?: number
  /** Dealt out over all ranks. Absent: the first and the last stage have it. */
  readonly vocabulary?: 'sharded'
}

export interface Refusal extends Alternative {
  readonly reason: string
}

export interface AlternativeOptions {
  readonly ranks: number
  readonly microbatches: number
  /** Names to consider; default all. */
  readonly names?: readonly string[]
  /** Most stages on a rank; default 4. */
  readonly maxChunks?: number
  /** Into how many slices the sequence may be cut, by rules that do it; default 2, 4 and 8. None: the model's sequence cannot be cut. */
  readonly slices?: readonly number[]
}

/**
 * Every schedule there is to choose from, and those that there are not, with the reason. What memory there is has no say here, so that more
 * of it never takes a choice away.
 */
export function alternativesFor(options: AlternativeOptions): {
  readonly made: readonly Alternative[]
  readonly refused: readonly Refusal[]
} {
  const { ranks, microbatches, names } = options
  const made: Alternative[] = []
  const refused: Refusal[] = []
  for (const family of families.filter(({ name }) => names?.includes(name) !== false)) {
    for (const one of variantsOf(family, options)) {
      const { cap, ...sizes } = one
      const reason = refusalOf(family, { ranks, microbatches, ...sizes })
      if (reason === undefined) made.push(one)
      else refused.push({ ...one, reason })
    }
  }
  return { made, refused }
}

function variantsOf(family: Family, options: AlternativeOptions): readonly Alternative[] {
  const { ranks, microbatches, maxChunks = 4, slices: ways = [2, 4, 8] } = options
  const { name } = family
  const chunks =
    family.chunks === 'any' ? Array.from({ length: Math.max(0, maxChunks - 1) }, (_, i) => i + 2) : [family.chunks]
  const slices = family.slices === true ? ways : [1]
  const caps = name === 'auto' ? capsFor(ranks, microbatches) : [undefined]
  return chunks.flatMap(one =>
    slices.flatMap(pieces =>
      caps.map(cap => ({ name, chunks: one, slices: pieces, ...(cap === undefined ? {} : { cap }) })),
    ),
  )
}

/** Close together where a microbatch more is much, and those of the rules made by hand. */
function capsFor(ranks: number, microbatches: number): readonly number[] {
  const steps = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, ranks, 2 * ranks - 1, microbatches]
  return [...new Set(steps.map(cap => Math.min(cap, microbatches)))].sort((a, b) => a - b)
}

function refusalOf(family: Family, sizes: Parameters<typeof sizesOf>[1]): string | undefined {
  try {
    sizesOf(family, sizes)
    return undefined
  } catch (error) {
    if (error instanceof SkeinError && error.code === ScheduleErrors.OPTIONS.code) return error.todo
    throw error
  }
}
