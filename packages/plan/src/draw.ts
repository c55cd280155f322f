import { type CollectivePlan, isTransfer } from './plan.ts'
import { type LinkCosts, type SimulatedOp, simulatePlan } from './simulate.ts'

export interface DrawOptions {
  /** Link costs of the picture; default 0.1 ms and 1 GB/s. */
  readonly costs?: LinkCosts
  /** Columns of the time axis; default 72. */
  readonly columns?: number
}

/**
 * A plan as lines of text: per rank what it sends and what it receives over simulated time. A message is the peer's number (base
 * 36) followed by `>` while it is sent, `+` while it is received and added, `=` while it is received and stored; `.` is idle.
 */
export function drawPlan(plan: CollectivePlan, options: DrawOptions = {}): string {
  const { costs = { latencyMs: 0.1, msPerByte: 1e-6 }, columns = 72 } = options
  const simulation = simulatePlan(plan, costs)
  const messages = plan.ops.flat().filter(op => op.op === 'send').length
  const mostBytes = Math.max(...simulation.bytesSent)
  const column = (ms: number) =>
    simulation.totalMs === 0 ? 0 : Math.min(columns, Math.round((ms / simulation.totalMs) * columns))

  const row = (ops: readonly SimulatedOp[]) => {
    const cells = Array.from({ length: columns }, () => '.')
    for (const { op, startMs, endMs } of ops) {
      if (!isTransfer(op)) continue
      const first = Math.min(column(startMs), columns - 1)
      const sign = { send: '>', recv: '=', recvReduce: '+' }[op.op]
      for (let c = first; c < column(endMs); c++) cells[c] = sign
      cells[first] = op.peer.toString(36)
    }
    return cells.join('')
  }

  const width = String(plan.ranks - 1).length
  const lines = [
    `${plan.name}: ${plan.ranks} ranks, ${plan.elems} elements, ${messages} messages, at most ${mostBytes} B sent by one rank, ${simulation.totalMs.toPrecision(3)} ms`,
  ]
  for (let rank = 0; rank < plan.ranks; rank++) {
    const own = simulation.ops.filter(op => op.rank === rank)
    lines.push(`${String(rank).padStart(width)} out ${row(own.filter(o => o.op.op === 'send'))}`)
    lines.push(`${' '.repeat(width)} in  ${row(own.filter(o => o.op.op !== 'send'))}`)
  }
  return lines.join('\n')
}
