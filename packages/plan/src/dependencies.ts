import { cellsOf, rangesOf } from './cells.ts'
import { isTransfer, type PlanOp } from './plan.ts'

/**
 * For each op of one rank's list the earlier ops of the same list that must be done before it starts: exactly the order that
 * `PlanOp` demands, without those that follow from others. Done means flushed for a send, arrived (and added) for a receive.
 * The order among ops of one peer is not in here: it is the lane's.
 */
export function dependenciesOf(ops: readonly PlanOp[]): readonly (readonly number[])[] {
  const cells = cellsOf(ops)
  const lastWrite = new Int32Array(cells.count).fill(-1)
  /** Ops that read a cell since its last write. */
  const readers: number[][] = Array.from({ length: cells.count }, () => [])
  let lastToken = -1
  return ops.map((op, index) => {
    if (op.from === op.to && isTransfer(op)) {
      const before = lastToken < 0 ? [] : [lastToken]
      if (op.op !== 'send') lastToken = index
      return before
    }
    const before = new Set<number>()
    const { reads, writes } = rangesOf(op)
    if (reads !== undefined) {
      const [first, last] = cells.of(reads)
      for (let cell = first; cell < last; cell++) {
        const written = lastWrite[cell] as number
        if (written >= 0) before.add(written)
        readers[cell]?.push(index)
      }
    }
    if (writes !== undefined) {
      const [first, last] = cells.of(writes)
      for (let cell = first; cell < last; cell++) {
        const reading = readers[cell] as number[]
        // Readers of the former value wait for its write themselves.
        if (reading.length > 0) for (const reader of reading) before.add(reader)
        else if ((lastWrite[cell] as number) >= 0) before.add(lastWrite[cell] as number)
        lastWrite[cell] = index
        readers[cell] = []
      }
    }
    return [...before]
  })
}
