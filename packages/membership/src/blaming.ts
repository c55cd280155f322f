import type { ErrorRecord, Ms } from '@skein/core'
import { maxTries, withAccusation, withBrokenLink, worstOf, worstOfFailing } from './accusations.ts'
import { isCorruption, repeatOffender, withCorruption, withoutCorruptions } from './corruptions.ts'
import { type Decision, keep } from './effects.ts'
import { MembershipErrors } from './errors.ts'
import { evict } from './evicting.ts'
import { tryForm } from './forming.ts'
import { endGeneration, workerLost } from './leaving.ts'
import { activeMembers, memberOfLink, nameOf } from './members.ts'
import { errorRecord, refuseStranger } from './refusing.ts'
import type { LinkId, Member, MembershipState } from './state.ts'

/**
 * A worker has lost its lanes with a peer. Everyone's generation ends at once. If the peer has died, the end of its control link comes
 * within moments, and the next generation waits for that. If it lives, the lanes are tried again with it, a few times; then the one of
 * the two that more workers complain about is evicted, and between equals the one with the higher name.
 */
export function onPeerLost(
  state: MembershipState,
  link: LinkId,
  generation: number,
  peerRank: number,
  error: ErrorRecord,
  nowMs: Ms,
): Decision {
  const reporter = memberOfLink(state, link)
  if (reporter === undefined) return refuseStranger(state, link, 'a report of a lost peer')
  const what = `${nameOf(reporter)} lost rank ${peerRank} of generation ${generation}`
  if (generation !== state.generation || state.phase === 'ended') return keep(state, `${what}, which is over`)
  if (state.phase === 'gathering' || state.phase === 'paused') {
    // Who closed its lanes for an altered frame may be heard after those who saw it close them.
    const sender = isCorruption(error) ? state.endedRanks.get(peerRank) : undefined
    if (sender === undefined) return keep(state, `${what}, as is known`)
    const known = withCorruption(state, { reporter: reporter.workerId, sender, atMs: nowMs })
    return keep(known, `${what}, as is known: ${error.what}`)
  }
  const [peer] = state.members.filter(member => member.rank === peerRank)
  if (peer === undefined || peer.workerId === reporter.workerId) {
    // Nonsense, but the reporter is out of the generation now: the others would wait for it in vain.
    const nobody = workerLost(state, reporter, `it reported the loss of rank ${peerRank}, which is no peer of it`)
    return endGeneration(state, [], { error: nobody, why: `${what}, which is no peer of it`, nowMs })
  }
  const accused = isCorruption(error)
    ? withCorruption(state, { reporter: reporter.workerId, sender: peer.workerId, atMs: nowMs })
    : withAccusation(state, reporter.workerId, peer.workerId)
  const why = `${nameOf(reporter)} lost its lanes with ${nameOf(peer)}: ${error.what}`
  const lost = workerLost(state, peer, `${nameOf(reporter)} lost its connection to it: ${error.what}`)
  return endGeneration(accused, [], { error: lost, why, nowMs, suspects: [peer.workerId] })
}

/** The moment in which the suspect's end would have been seen is over, and it lives. */
export function onSuspectsAlive(state: MembershipState, nowMs: Ms): Decision {
  const cleared: MembershipState = { ...state, gathering: { ...state.gathering, suspects: [] } }
  const offender = repeatOffender(cleared, nowMs)
  if (offender !== undefined) return evictOffender(cleared, offender, nowMs)
  const worst = worstOfFailing(cleared)
  if (worst === undefined)
    return tryForm(cleared, [], nowMs, 'those reported lost are alive, their lanes are opened again')
  const what = `${nameOf(worst)} and a peer cannot keep a connection`
  const isAgain = state.brokenLinks.some(pair => pair.includes(worst.workerId))
  const reason = isAgain ? 'its lanes failed again' : `${maxTries} generations in a row ended on its lanes`
  const details = { workerId: worst.workerId, accusations: state.accusations }
  const peers = Object.keys(state.accusations[worst.workerId] ?? {})
  const accusers = Object.keys(state.accusations).filter(
    name => state.accusations[name]?.[worst.workerId] !== undefined,
  )
  return evictUnreachable(cleared, worst, [...peers, ...accusers], nowMs, {
    what: `${what}: ${reason}`,
    reason,
    details,
  })
}

/** A link of the generation, by rank. */
export interface RankLink {
  readonly from: number
  readonly to: number
}

/**
 * What is sent over these links does not arrive, and nothing breaks: neither of their ends can know it, so no generation would end on it. One
 * end is put out at once, as where lanes fail; waiting for the same three times would only take longer.
 */
export function onLinkStuck(
  state: MembershipState,
  generation: number,
  links: readonly RankLink[],
  forMs: Ms,
  nowMs: Ms,
): Decision {
  const isUnderWay = state.phase === 'training' || state.phase === 'preparing'
  if (generation !== state.generation || !isUnderWay) return keep(state, `a link of generation ${generation} was stuck`)
  const nameOfRank = new Map(activeMembers(state).map(({ rank, workerId }) => [rank, workerId]))
  const pairs = links.map(({ from, to }) => [nameOfRank.get(from), nameOfRank.get(to)] as const)
  const complaints = new Map<string, number>()
  for (const name of pairs.flat()) if (name !== undefined) complaints.set(name, (complaints.get(name) ?? 0) + 1)
  const worst = worstOf(state, [...complaints.keys()], complaints)
  if (worst === undefined) return keep(state, 'a link between nobody was stuck')
  const said = pairs.map(([from, to]) => `${from} to ${to}`).join(', ')
  const seconds = Math.round(forMs / 1000)
  const peers = pairs.filter(pair => pair.includes(worst.workerId)).flat()
  return evictUnreachable(
    state,
    worst,
    peers.filter(name => name !== undefined),
    nowMs,
    {
      what: `what was sent from ${said} has not arrived for ${seconds} s`,
      reason: `its link did not move for ${seconds} s: ${said}`,
      details: { workerId: worst.workerId, links: said },
    },
  )
}

function evictUnreachable(
  state: MembershipState,
  worst: Member,
  peers: readonly string[],
  nowMs: Ms,
  { what, reason, details }: { what: string; reason: string; details: Readonly<Record<string, unknown>> },
): Decision {
  const others = peers.filter(name => name !== worst.workerId)
  const known = others.reduce((next, peer) => withBrokenLink(next, worst.workerId, peer), state)
  return evict(known, [worst], nowMs, {
    error: errorRecord(MembershipErrors.UNREACHABLE, {
      what,
      why: 'a firewall or a broken link between the two, while both reach the coordinator',
      todo: 'open the lane ports between all workers; the worker comes back by itself',
      details,
    }),
    reason,
  })
}

function evictOffender(state: MembershipState, offender: Member, nowMs: Ms): Decision {
  const reports = state.corruptions.filter(one => [one.sender, one.reporter].includes(offender.workerId))
  return evict(withoutCorruptions(state, offender.workerId), [offender], nowMs, {
    error: errorRecord(MembershipErrors.CORRUPTING, {
      what: `${reports.length} frames that ${nameOf(offender)} sent or received were altered on the way`,
      why: 'memory or network of its machine alters data: the checksums of frames do not fit',
      todo: 'test that machine; the worker comes back by itself, with growing pauses',
      details: { workerId: offender.workerId, reports },
    }),
    reason: `${reports.length} frames that it sent or received were altered`,
  })
}
