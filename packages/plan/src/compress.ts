import { cellsOf } from './cells.ts'
import type { CollectivePlan, PlanOp, PlanOptions } from './plan.ts'

/**
 * The plan for values that travel encoded: before a send, what has not been encoded since it last changed is encoded, in place. What
 * was received and not changed is passed on in the form in which it came. So a rank and those it sends to hold the same values, and
 * an owner's copy is what the others get.
 */
export function compress(plan: CollectivePlan): CollectivePlan {
  return { ...plan, ops: plan.ops.map(compressList) }
}

function compressList(ops: readonly PlanOp[]): readonly PlanOp[] {
  const cells = cellsOf(ops)
  const isEncoded = new Uint8Array(cells.count)
  const list: PlanOp[] = []
  for (const op of ops) {
    const [first, last] = cells.of(op)
    if (op.op === 'send') {
      for (let cell = first; cell < last; cell++) {
        if (isEncoded[cell] === 1) continue
        let end = cell
        while (end < last && isEncoded[end] === 0) isEncoded[end++] = 1
        list.push({ op: 'encode', from: cells.borders[cell] as number, to: cells.borders[end] as number })
      }
    } else if (op.op === 'copy' || op.op === 'reduce') {
      isEncoded.fill(0, ...cells.of({ from: op.at, to: op.at + op.to - op.from }))
    } else isEncoded.fill(op.op === 'recvReduce' ? 0 : 1, first, last)
    list.push(op)
  }
  return list
}

/**
 * A generator whose plans have every border at a multiple of `unitElems`, but for the end: for codecs, whose blocks cannot be cut. In
 * a copy of the buffer that is scratch borders count from its beginning.
 * For collectives whose result has no blocks of its own: all-reduce, reduce, broadcast.
 */
export function inUnits<Options extends PlanOptions>(
  generate: (options: Options) => CollectivePlan,
  unitElems: number,
): (options: Options) => CollectivePlan {
  return options => {
    const { elems, segmentElems } = options
    const plan = generate({
      ...options,
      elems: Math.ceil(elems / unitElems),
      ...(segmentElems === undefined ? {} : { segmentElems: Math.max(1, Math.floor(segmentElems / unitElems)) }),
    })
    const units = plan.elems
    const moved = (layer: number, unit: number) => layer * elems + Math.min(elems, (unit - layer * units) * unitElems)
    const scaled = (op: PlanOp): PlanOp => {
      // A range ends in the copy in which it begins, at its end at most.
      const layer = units === 0 ? 0 : Math.floor(op.from / units)
      const range = { from: moved(layer, op.from), to: moved(layer, op.to) }
      if (op.op !== 'copy' && op.op !== 'reduce') return { ...op, ...range }
      return { ...op, ...range, at: moved(Math.floor(op.at / units), op.at) }
    }
    return { ...plan, elems, ops: plan.ops.map(list => list.map(scaled)) }
  }
}
