/** A run of elements of the flat buffers: what is asked for, checked and retried at a time. */
export interface Chunk {
  readonly index: number
  /** Elements from the beginning of each flat buffer. */
  readonly offset: number
  readonly elems: number
}

/** 1 MiB of gradients, 3 MiB of state: two milliseconds of a comm thread that serves it between the pieces of a collective. */
export const chunkElems = 256 * 1024

/** All of a state, in order. */
export function chunksOf(totalElems: number, elems = chunkElems): Chunk[] {
  return Array.from({ length: Math.ceil(totalElems / elems) }, (_, index) => {
    const offset = index * elems
    return { index, offset, elems: Math.min(elems, totalElems - offset) }
  })
}
