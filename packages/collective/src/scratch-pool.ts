/** Places start at multiples of this. */
const alignment = 64

/** First-fit allocator over one region of the shared memory, for what ops need while they are under way. */
export class ScratchPool {
  readonly #bytes: number
  /** Free pieces by rising offset, never touching each other. */
  #free: { byteOffset: number; bytes: number }[]

  /** `bytes`: a multiple of 64. See `scratchPools`. */
  constructor(byteOffset: number, bytes: number) {
    this.#bytes = bytes
    this.#free = bytes > 0 ? [{ byteOffset, bytes }] : []
  }

  /** All that it has to give. */
  get bytes(): number {
    return this.#bytes
  }

  /** The offset of `bytes` B that are the caller's until `give`; undefined while so much is not free in one piece. */
  take(bytes: number): number | undefined {
    const padded = padTo(bytes)
    const index = this.#free.findIndex(piece => piece.bytes >= padded)
    const piece = this.#free[index]
    if (piece === undefined) return undefined
    const { byteOffset } = piece
    piece.byteOffset += padded
    piece.bytes -= padded
    if (piece.bytes === 0) this.#free.splice(index, 1)
    return byteOffset
  }

  give(byteOffset: number, bytes: number): void {
    const padded = padTo(bytes)
    if (padded === 0) return
    const at = this.#free.findIndex(piece => piece.byteOffset > byteOffset)
    this.#free.splice(at < 0 ? this.#free.length : at, 0, { byteOffset, bytes: padded })
    const joined: { byteOffset: number; bytes: number }[] = []
    for (const piece of this.#free) {
      const last = joined.at(-1)
      if (last !== undefined && last.byteOffset + last.bytes === piece.byteOffset) last.bytes += piece.bytes
      else joined.push(piece)
    }
    this.#free = joined
  }
}

/** A region divided into pools of one size. What is left over is not used: a pool that promised it could never give it. */
export function scratchPools(byteOffset: number, bytes: number, numPools: number): readonly ScratchPool[] {
  const each = Math.floor(bytes / numPools / alignment) * alignment
  return Array.from({ length: numPools }, (_, i) => new ScratchPool(byteOffset + i * each, each))
}

/** What a request for `bytes` takes. */
function padTo(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment
}
