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
import { verdictAt } from './tentative.ts'

/**
 * The schedule with its messages written out: each send right after what made it, each receive posted `ahead` ops before the op
 * that takes it (its buffer is held from there on), or earlier where the sender's next message is taken earlier: a lane delivers in the
 * order of its sends, and what is not posted holds up all behind it. Where updates are validated afterwards, what is sent before a verdict that comes on
 * the same lane is posted before it, and what is sent after a verdict not before the own one. The order of the other ops stays. A tensor
 * between two stages of one rank is no message.
 */
export function lower(schedule: Schedule, ahead = 4): Schedule {
  const lists = schedule.ops.map(list => list.filter(op => !isTransfer(op)))
  const sends = lists.map((list, rank) => list.map(op => sendsOf(schedule, op, rank)))
  const ops = lists.map((own, rank) => {
    const posted: TransferOp[][] = own.map(() => [])
    const takenAt = new Map<string, { readonly receive: TransferOp; readonly index: number }>()
    for (const [index, op] of own.entries()) {
      for (const receive of receivesOf(schedule, op, rank)) takenAt.set(describeOp(receive), { receive, index })
    }
    const verdict = verdictAt(own)
    for (const [peer, theirs] of lists.entries()) {
      const verdictThere = verdictAt(theirs)
      let latest = own.length
      for (let at = theirs.length - 1; at >= 0; at--) {
        // The verdict comes on the same lane, behind these.
        if (at === verdictThere && peer === rank + 1) latest = Math.min(latest, verdict)
        for (const send of (sends[peer]?.[at] ?? []).toReversed()) {
          const taken = send.peer === rank ? takenAt.get(describeOp(received(schedule, send, peer))) : undefined
          if (taken === undefined) continue
          latest = Math.max(0, Math.min(latest, taken.index - ahead))
          // What is sent once the verdict is known comes once, and what is before it may be done twice.
          if (at > verdictThere) latest = Math.max(latest, verdict + 1)
          posted[latest]?.unshift(taken.receive)
        }
      }
    }
    return own.flatMap((op, index) => [...(posted[index] ?? []), op, ...(sends[rank]?.[index] ?? [])])
  })
  return { ...schedule, ops }
}

/** The other end of a message. */
function received(schedule: Schedule, send: TransferOp, rank: number): TransferOp {
  const { op, stage, microbatch } = send
  const along = op === 'sendActivation' ? +1 : -1
  const taker = stageAlong(schedule, stage, microbatch, along) as number
  return {
    ...send,
    op: op === 'sendActivation' ? 'recvActivation' : 'recvGradient',
    stage: taker,
    peer: rank,
  }
}

/**
 * Of a lowered schedule: per rank and peer how many buffers the messages from there need, each from the receive that posts it to the end of
 * the op that takes it.
 */
export function receiveBuffers(schedule: Schedule): readonly ReadonlyMap<number, number>[] {
  return schedule.ops.map((list, rank) => {
    const held = new Map<number, number>()
    const most = new Map<number, number>()
    for (const op of list) {
      if (op.op === 'recvActivation' || op.op === 'recvGradient') {
        held.set(op.peer, (held.get(op.peer) ?? 0) + 1)
        most.set(op.peer, Math.max(most.get(op.peer) ?? 0, held.get(op.peer) as number))
      }
      for (const { peer } of receivesOf(schedule, op, rank)) held.set(peer, (held.get(peer) ?? 0) - 1)
    }
    return most
  })
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
  return findCrossed(schedule)
}

/** Receives of a link that are not posted in the order of its sends: the lane would stand still before what is posted too late. */
function findCrossed(schedule: Schedule): string | undefined {
  for (const [rank, list] of schedule.ops.entries()) {
    for (const [peer, theirs] of schedule.ops.entries()) {
      const coming = theirs.filter(isSendTo(rank)).map(send => describeOp(received(schedule, send, peer)))
      const posted = list.filter(isReceiveFrom(peer)).map(describeOp)
      const at = posted.findIndex((receive, i) => receive !== coming[i])
      if (at >= 0) return `rank ${rank} does "${posted[at]}" where rank ${peer} sends for "${coming[at]}"`
    }
  }
  return undefined
}

const isSendTo =
  (rank: number) =>
  (op: ScheduleOp): op is TransferOp =>
    isTransfer(op) && op.peer === rank && (op.op === 'sendActivation' || op.op === 'sendGradient')

const isReceiveFrom =
  (rank: number) =>
  (op: ScheduleOp): op is TransferOp =>
    isTransfer(op) && op.peer === rank && (op.op === 'recvActivation' || op.op === 'recvGradient')
