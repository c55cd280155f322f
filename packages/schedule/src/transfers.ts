import {
  describeOp,
  isCompute,
  isTransfer,
  rankOf,
  type Schedule,
  type ScheduleOp,
  stageAlong,
  type TransferOp,
} from './schedule.ts'

/**
 * The schedule with its messages written out: each send right after what made it, each receive posted `ahead` ops before the op
 * that takes it (its buffer is held from there on). The order of the other ops stays. A tensor between two stages of one rank is
 * no message.
 */
export function lower(schedule: Schedule, ahead = 2): Schedule {
  const ops = schedule.ops.map((list, rank) => {
    const own = list.filter(op => !isTransfer(op))
    const posted: TransferOp[][] = own.map(() => [])
    const sent = own.map(op => sendsOf(schedule, op, rank))
    for (const [index, op] of own.entries()) posted[Math.max(0, index - ahead)]?.push(...receivesOf(schedule, op, rank))
    return own.flatMap((op, index) => [...(posted[index] ?? []), op, ...(sent[index] ?? [])])
  })
  return { ...schedule, ops }
}

function sendsOf(schedule: Schedule, op: ScheduleOp, rank: number): TransferOp[] {
  if (!isCompute(op)) return []
  if (op.op === 'F') return transfer(schedule, op, rank, 'sendActivation', +1)
  return op.op === 'B' || op.op === 'BW' ? transfer(schedule, op, rank, 'sendGradient', -1) : []
}

function receivesOf(schedule: Schedule, op: ScheduleOp, rank: number): TransferOp[] {
  if (!isCompute(op)) return []
  if (op.op === 'F') return transfer(schedule, op, rank, 'recvActivation', -1)
  return op.op === 'B' || op.op === 'BW' ? transfer(schedule, op, rank, 'recvGradient', +1) : []
}

function transfer(
  schedule: Schedule,
  { stage, microbatch, slice }: { stage: number; microbatch: number; slice?: number },
  rank: number,
  op: TransferOp['op'],
  along: number,
): TransferOp[] {
  const other = stageAlong(schedule, stage, microbatch, along)
  if (other === undefined) return []
  const peer = rankOf(schedule, other, microbatch)
  if (peer === rank) return []
  return [slice === undefined ? { op, stage, microbatch, peer } : { op, stage, microbatch, slice, peer }]
}

/** A message without its partner, one too many, or on the wrong side of what makes or takes it. None where there are no messages. */
export function findUnmatched(schedule: Schedule): string | undefined {
  if (!schedule.ops.some(list => list.some(isTransfer))) return undefined
  for (const [rank, list] of schedule.ops.entries()) {
    const places = new Map(list.map((op, index) => [describeOp(op), index]))
    const wanted = new Set<string>()
    for (const [index, op] of list.entries()) {
      for (const send of sendsOf(schedule, op, rank)) {
        wanted.add(describeOp(send))
        const place = places.get(describeOp(send))
        if (place === undefined) return `rank ${rank} never does "${describeOp(send)}"`
        if (place < index) return `rank ${rank} does "${describeOp(send)}" before "${describeOp(op)}"`
      }
      for (const receive of receivesOf(schedule, op, rank)) {
        wanted.add(describeOp(receive))
        const place = places.get(describeOp(receive))
        if (place === undefined) return `rank ${rank} never does "${describeOp(receive)}"`
        if (place > index) return `rank ${rank} does "${describeOp(receive)}" after "${describeOp(op)}"`
      }
    }
    const idle = list.find(op => isTransfer(op) && !wanted.has(describeOp(op)))
    if (idle !== undefined) return `rank ${rank} does "${describeOp(idle)}", for which there is no partner`
  }
  return undefined
}
