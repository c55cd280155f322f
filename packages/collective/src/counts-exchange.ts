import type { OpMaker } from './op-maker.ts'
import { OpMemory } from './op-memory.ts'
import type { OpParts } from './op-run.ts'
import { planOf } from './plan-of.ts'
import type { ProgramCache } from './rank-program.ts'
import type { TensorRegion } from './region.ts'

export interface CountsExchangeOptions {
  readonly rank: number
  readonly ranks: number
  readonly channel: number
  /** Of the all-to-all that comes after: nobody else may use them from now on. */
  readonly reads: readonly TensorRegion[]
  readonly writes: readonly TensorRegion[]
  /** To each rank. */
  readonly counts: readonly number[]
  readonly memory: WebAssembly.Memory
  readonly ops: OpMaker
  readonly programs: ProgramCache
  /** Called once nothing can go wrong any more. */
  takeOpSeq(): number
}

/**
 * What each rank sends to each, before an all-to-all of unequal blocks: an all-gather of one row of counts, in the group's pool.
 *
 * `matrix`, [from][to], is there when the op is done. @throws SKEIN_COLLECTIVE_ARGUMENT when the pool could never hold it
 */
export function countsExchange(options: CountsExchangeOptions): {
  readonly parts: OpParts
  readonly matrix: () => number[][]
} {
  const { rank, ranks, channel, counts, memory, ops, programs } = options
  const elems = ranks * ranks
  const scratchBytes = ops.fitting(elems * Int32Array.BYTES_PER_ELEMENT)
  const program = programs.get(`counts ${ranks}`, () =>
    planOf({ kind: 'all-gather', algorithm: 'direct', ranks, elems, segmentElems: elems }),
  )
  let table: Int32Array | undefined
  const parts: OpParts = {
    identity: { opSeq: options.takeOpSeq(), kind: 'all-gather', algorithm: 'direct', tag: 0, elems, channel },
    program,
    reads: options.reads,
    writes: options.writes,
    scratchBytes,
    payloadAt: scratchOffset => {
      const region: TensorRegion = { byteOffset: scratchOffset, elems, dtype: 'int32' }
      table = new Int32Array(memory.buffer, scratchOffset, elems)
      table.set(counts, rank * ranks)
      return ops.plain(OpMemory.inPlace(region, 0), 'int32')
    },
    // The pool takes the memory back: what it holds is kept before.
    end: () => {
      table = table?.slice()
    },
  }
  const matrix = () =>
    Array.from({ length: ranks }, (_, from) => Array.from(table?.subarray(from * ranks, (from + 1) * ranks) ?? []))
  return { parts, matrix }
}
