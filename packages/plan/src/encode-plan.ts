import { type CollectivePlan, isTransfer, type PlanOp } from './plan.ts'

/** Name and version of the text form; the number goes up when a reader of the former one could misread it. */
export const planFormat = 'skein-plan/1'

/**
 * A plan as JSON, to keep, compare or send: `{format, name, collective, ranks, elems, spaces?, layers?, ops}`, where an op is
 * `[op, peer, from, to]`, `[op, from, to, at]` or `["encode", from, to]`, and a space `[input, output, scratch]`. Equal plans give
 * equal texts. `decodePlan` reads it.
 */
export function encodePlan(plan: CollectivePlan): string {
  const { name, collective, ranks, elems, ops, spaces, layers } = plan
  return JSON.stringify({
    format: planFormat,
    name,
    collective,
    ranks,
    elems,
    ...(spaces === undefined ? {} : { spaces: spaces.map(s => [s.inputElems, s.outputElems, s.scratchElems]) }),
    ...(layers === undefined ? {} : { layers }),
    ops: ops.map(list => list.map(encodeOp)),
  })
}

function encodeOp(op: PlanOp): readonly (string | number)[] {
  if (isTransfer(op)) return [op.op, op.peer, op.from, op.to]
  return op.op === 'encode' ? [op.op, op.from, op.to] : [op.op, op.from, op.to, op.at]
}
