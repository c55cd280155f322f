import type { ErrorRecord, Ms } from '@skein/core'
import { maxTries, withAccusation, worstOfFailing } from './accusations.ts'
import { type Decision, keep } from './effects.ts'
import { MembershipErrors } from './errors.ts'
import { evict } from './evicting.ts'
import { tryForm } from './forming.ts'
import { endGeneration, workerLost } from './leaving.ts'
import { memberOfLink, nameOf } from './members.ts'
import { errorRecord, refuseStranger } from './refusing.ts'
import type { LinkId, MembershipState } from './state.ts'

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
    return keep(state, `${what}, as is known`)
  }
  const [peer] = state.members.filter(member => member.rank === peerRank)
  if (peer === undefined || peer.workerId === reporter.workerId) {
    // Nonsense, but the reporter is out of the generation now: the others would wait for it in vain.
    const nobody = workerLost(state, reporter, `it reported the loss of rank ${peerRank}, which is no peer of it`)
    return endGeneration(state, [], { error: nobody, why: `${what}, which is no peer of it`, nowMs })
  }
  const accused = withAccusation(state, reporter.workerId, peer.workerId)
  const why = `${nameOf(reporter)} lost its lanes with ${nameOf(peer)}: ${error.what}`
  const lost = workerLost(state, peer, `${nameOf(reporter)} lost its connection to it: ${error.what}`)
  return endGeneration(accused, [], { error: lost, why, nowMs, suspects: [peer.workerId] })
}

/** The moment in which the suspect's end would have been seen is over, and it lives. */
export function onSuspectsAlive(state: MembershipState, nowMs: Ms): Decision {
  const cleared: MembershipState = { ...state, gathering: { ...state.gathering, suspects: [] } }
  const worst = worstOfFailing(cleared)
  if (worst === undefined)
    return tryForm(cleared, [], nowMs, 'those reported lost are alive, their lanes are opened again')
  return evict(cleared, [worst], nowMs, {
    error: errorRecord(MembershipErrors.UNREACHABLE, {
      what: `${nameOf(worst)} and a peer cannot keep a connection: ${maxTries} generations in a row ended on it`,
      why: 'a firewall or a broken link between the two, while both reach the coordinator',
      todo: 'open the lane ports between all workers; the worker comes back by itself',
      details: { workerId: worst.workerId, accusations: state.accusations },
    }),
    reason: `${maxTries} generations in a row ended on its lanes`,
  })
}
