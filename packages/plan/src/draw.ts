import type { CollectivePlan, PlanOp } from './plan.ts'
import { type LinkCosts, type SimulatedOp, simulatePlan } from './simulate.ts'

export interface DrawOptions {
  /** Link costs of the picture; default 0.1 ms and 1 GB/s, 10 GB/s for what a rank does by itself. */
  readonly costs?: LinkCosts
  /** Columns of the time axis; default 72. */
  readonly columns?: number
}

/** What pictures assume when nothing was measured. */
export const drawnCosts: LinkCosts = { latencyMs: 0.1, msPerByte: 1e-6, copyMsPerByte: 1e-7, reduceMsPerByte: 1e-7 }

const signs: Readonly<Record<PlanOp['op'], string>> = {
  send: '>',
  recv: '=',
  recvReduce: '+',
  copy: ':',
  reduce: '&',
  encode: '#',
}

/** The tracks of a rank: what goes out, what comes in, what it does by itself. */
export const tracks = ['out', 'in', 'own'] as const
export type Track = (typeof tracks)[number]

export function trackOf({ op }: PlanOp): Track {
  if (op === 'send') return 'out'
  return op === 'recv' || op === 'recvReduce' ? 'in' : 'own'
}

/**
 * A plan as lines of text: per rank what it sends and what it receives over simulated time. A message is the peer's number (base
 * 36) followed by `>` while it is sent, `+` while it is received and added, `=` while it is received and stored. Where there are
 * local ops a third line shows them: `:` copies, `&` adds, `#` encodes. `.` is idle.
 */
export function drawPlan(plan: CollectivePlan, options: DrawOptions = {}): string {
  const { costs = drawnCosts, columns = 72 } = options
  const simulation = simulatePlan(plan, costs)
  const column = (ms: number) =>
    simulation.totalMs === 0 ? 0 : Math.min(columns, Math.round((ms / simulation.totalMs) * columns))

  const row = (ops: readonly SimulatedOp[]) => {
    const cells = Array.from({ length: columns }, () => '.')
    for (const { op, startMs, endMs } of ops) {
      const first = Math.min(column(startMs), columns - 1)
      for (let c = first; c < column(endMs); c++) cells[c] = signs[op.op]
      cells[first] = 'peer' in op ? op.peer.toString(36) : signs[op.op]
    }
    return cells.join('')
  }

  const width = String(plan.ranks - 1).length
  const lines = [describePlan(plan, simulation)]
  const hasLocals = simulation.ops.some(({ op }) => trackOf(op) === 'own')
  for (let rank = 0; rank < plan.ranks; rank++) {
    for (const track of hasLocals ? tracks : tracks.slice(0, 2)) {
      const label = track === 'out' ? String(rank).padStart(width) : ' '.repeat(width)
      const ops = simulation.ops.filter(op => op.rank === rank && trackOf(op.op) === track)
      lines.push(`${label} ${track.padEnd(3)} ${row(ops)}`)
    }
  }
  return lines.join('\n')
}

/** Name, sizes, messages, most bytes of one rank, and time, as one line. */
export function describePlan(
  plan: CollectivePlan,
  { totalMs, bytesSent }: { readonly totalMs: number; readonly bytesSent: readonly number[] },
): string {
  const messages = plan.ops.flat().filter(op => op.op === 'send').length
  const most = bytesSent.reduce((most, bytes) => Math.max(most, bytes), 0)
  return `${plan.name}: ${plan.ranks} ranks, ${plan.elems} elements, ${messages} messages, at most ${most} B sent by one rank, ${totalMs.toPrecision(3)} ms`
}
