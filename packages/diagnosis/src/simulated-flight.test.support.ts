import {
  algorithmsFor,
  type CollectiveKind,
  type CollectivePlan,
  generatePlan,
  isTransfer,
  type LinkCosts,
  type SimulatedOp,
  simulatePlan,
} from '@skein/plan'
import type { FlightOp, FlightRecord, PeerTraffic } from './flight-record.ts'

const bytesPerElem = 4

/** 1 GB/s and 0.1 ms; the link from `src` to `dst` with a `factor` times lower rate. */
export function linkCosts(slow?: { readonly src: number; readonly dst: number; readonly factor: number }): LinkCosts {
  const usual = { latencyMs: 0.1, msPerByte: 1e-6 }
  return {
    ...usual,
    pair: (src, dst) =>
      slow?.src === src && slow.dst === dst ? { ...usual, msPerByte: usual.msPerByte * slow.factor } : usual,
  }
}

/** One op among all ranks: entered by each when it says, looked at `atMs`; both of one clock. */
export interface SimulatedCollective {
  readonly plan: CollectivePlan
  readonly opSeq: number
  readonly enteredMs: readonly number[]
  readonly costs: LinkCosts
}

/** The records that the ranks of a world would give `atMs`, by the simulator of plans; a rank that never enters has no such op. */
export function flightRecords(collectives: readonly SimulatedCollective[], atMs: number): FlightRecord[] {
  const ranks = collectives[0]?.plan.ranks ?? 0
  const simulated = collectives.map(one => ({
    ...one,
    done: simulatePlan(one.plan, one.costs, { enteredMs: one.enteredMs }).ops,
  }))
  return Array.from({ length: ranks }, (_, rank) => ({
    rank,
    ageMs: 0,
    ops: simulated.flatMap(({ plan, opSeq, enteredMs, done }): FlightOp[] => {
      const entered = enteredMs[rank] ?? 0
      if (entered > atMs) return []
      const own = done.filter(one => one.rank === rank)
      const program = plan.ops[rank] ?? []
      const leftMs = own.length < program.length ? Infinity : Math.max(entered, ...own.map(({ endMs }) => endMs))
      return [
        {
          opSeq,
          channel: 0,
          name: plan.name,
          elems: plan.elems,
          enteredAgoMs: atMs - entered,
          ...(leftMs <= atMs ? { leftAgoMs: atMs - leftMs } : {}),
          peers: peersOf(plan, rank, own, atMs),
        },
      ]
    }),
  }))
}

function peersOf(plan: CollectivePlan, rank: number, own: readonly SimulatedOp[], atMs: number): PeerTraffic[] {
  const transfers = (plan.ops[rank] ?? []).filter(isTransfer)
  return [...new Set(transfers.map(({ peer }) => peer))].map(peer => {
    const ofPeer = own.filter(({ op }) => isTransfer(op) && op.peer === peer)
    const sent = ofPeer.filter(({ op, endMs }) => op.op === 'send' && endMs <= atMs)
    const into = ofPeer.filter(({ op }) => op.op !== 'send')
    const received = into.filter(({ endMs }) => endMs <= atMs)
    const open = into.find(({ startMs, endMs }) => startMs <= atMs && endMs > atMs)
    return {
      peer,
      framesSent: sent.length,
      framesToSend: transfers.filter(one => one.peer === peer && one.op === 'send').length,
      framesReceived: received.length,
      framesToReceive: transfers.filter(one => one.peer === peer && one.op !== 'send').length,
      bytesReceived: received.reduce((sum, { op }) => sum + (op.to - op.from) * bytesPerElem, 0),
      receivingMs: received.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0),
      ...(open === undefined ? {} : { inFrameMs: atMs - open.startMs }),
    }
  })
}

/** Links that carry at least `leastBytes` in a plan. */
export function usedLinks(plan: CollectivePlan, leastBytes: number): { readonly src: number; readonly dst: number }[] {
  const bytes = new Map<string, number>()
  for (const [src, ops] of plan.ops.entries()) {
    for (const op of ops) {
      if (op.op !== 'send') continue
      const key = `${src} ${op.peer}`
      bytes.set(key, (bytes.get(key) ?? 0) + (op.to - op.from) * bytesPerElem)
    }
  }
  return [...bytes].flatMap(([key, sum]) => {
    const [src = 0, dst = 0] = key.split(' ').map(Number)
    return sum < leastBytes ? [] : [{ src, dst }]
  })
}

/** Every algorithm of these kinds for so many ranks, by name, with plans of `elems`. */
export function plansFor(
  kinds: readonly CollectiveKind[],
  ranks: number,
  elems: number,
): (readonly [string, CollectivePlan])[] {
  const hosts = Array.from({ length: ranks }, (_, rank) => Math.floor((rank * 2) / ranks))
  const sizes = { ranks, elems, hosts, segmentElems: 131_072 }
  return kinds.flatMap(kind =>
    algorithmsFor(kind, sizes).map(name => [`${kind} ${name}`, generatePlan(kind, name, sizes)] as const),
  )
}
