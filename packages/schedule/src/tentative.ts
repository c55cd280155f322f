import type { Graph } from './graph.ts'
import { describeOp, type Schedule, type ScheduleOp, type TransferOp } from './schedule.ts'

/** Where in a list the verdict on the step before stands: what is before it runs on weights that may have to be made again. */
export function verdictAt(list: readonly ScheduleOp[]): number {
  return list.findIndex(({ op }) => op === 'validate')
}

/** Whether an op at this place of a list is done once more where the verdict is that an update was wrong. */
export function isTentative(list: readonly ScheduleOp[], index: number): boolean {
  return index < verdictAt(list)
}

/**
 * An op before the verdict that takes what another rank makes after it: it would run on weights in doubt while its input does not, and
 * the rank that has to run it again would wait for what nobody makes again.
 */
export function findTakenAcrossVerdicts(schedule: Schedule, { nodes }: Graph): string | undefined {
  if (schedule.updates !== 'validated') return undefined
  const isEarly = ({ rank, index }: { readonly rank: number; readonly index: number }) =>
    isTentative(schedule.ops[rank] ?? [], index)
  for (const node of nodes) {
    if (!isEarly(node)) continue
    const late = node.inputs.map(input => nodes[input]).find(input => input !== undefined && !isEarly(input))
    if (late === undefined) continue
    return `rank ${node.rank} has "${describeOp(node.op)}" before the verdict, and takes it from "${describeOp(late.op)}", which rank ${late.rank} has after it`
  }
  return undefined
}

/**
 * Of a lowered, validated schedule: the messages to a rank that were sent before their sender's verdict and are taken after its own, by sender
 * in the order in which they come. If the step begins again, these are under way and of no use.
 */
export function messagesLeftOver(schedule: Schedule, rank: number): ReadonlyMap<number, readonly TransferOp[]> {
  const own = schedule.ops[rank] ?? []
  const takenBefore = new Set(own.slice(0, verdictAt(own)).map(describeOp))
  const left = new Map<number, readonly TransferOp[]>()
  for (const [peer, list] of schedule.ops.entries()) {
    const coming = own.filter(
      (op): op is TransferOp => (op.op === 'recvActivation' || op.op === 'recvGradient') && op.peer === peer,
    )
    // Receives of a link stand in the order of its sends.
    const sent = list
      .slice(0, verdictAt(list))
      .filter(op => op.op.startsWith('send') && 'peer' in op && op.peer === rank)
    const unused = coming.slice(0, sent.length).filter(({ op, peer: _, ...piece }) => {
      const takers = op === 'recvActivation' ? (['F'] as const) : (['B', 'BW'] as const)
      return !takers.some(taker => takenBefore.has(describeOp({ ...piece, op: taker })))
    })
    if (unused.length > 0) left.set(peer, unused)
  }
  return left
}
