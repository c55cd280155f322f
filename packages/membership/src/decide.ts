import { assertNever, type Ms } from '@skein/core'
import { onLinkStuck, onPeerLost, onSuspectsAlive } from './blaming.ts'
import { type Decision, durableFirst, keep } from './effects.ts'
import { endFailed } from './ending.ts'
import type { MembershipEvent, SeenMoves } from './events.ts'
import { finishTimeout, onEvaluated, onFinished, onStopRequested } from './finishing.ts'
import { tryForm } from './forming.ts'
import { onJoined, onRecovered } from './joining.ts'
import { onFailed, onLeft, onLinkLost } from './leaving.ts'
import { onLoaded } from './loading.ts'
import { onMeasured } from './measuring.ts'
import { onMirrored } from './mirroring.ts'
import { considerRegroup, onCatchUpFailed, onCaughtUp } from './newcomers.ts'
import { onReady, prepareTimeout } from './preparing.ts'
import { onCheckpointed, onCheckpointFailed, onCheckpointPart } from './saving.ts'
import type { MembershipState } from './state.ts'
import { stallTimeout } from './stalling.ts'
import { onVoted } from './training.ts'

/**
 * The membership of a run: what an event does to the state, which effects follow, and why.
 *
 * Pure: the same state, event and time give the same decision, so a run replays from its events. Never throws on what a worker
 * says. `nowMs` is monotonic and never goes back.
 */
export function decide(state: MembershipState, event: MembershipEvent, nowMs: Ms): Decision {
  return durableFirst(react(state, event, nowMs))
}

function react(state: MembershipState, event: MembershipEvent, nowMs: Ms): Decision {
  switch (event.type) {
    case 'recovered':
      return onRecovered(state, event, nowMs)
    case 'joined':
      return onJoined(state, event, nowMs)
    case 'loaded': {
      const { dataFingerprint, numParams } = event
      return onLoaded(state, event.link, { dataFingerprint, numParams }, nowMs)
    }
    case 'caughtUp':
      return onCaughtUp(state, event.link, event.generation, event.holds, nowMs)
    case 'catchUpFailed':
      return onCatchUpFailed(state, event.link, event.generation, event.error)
    case 'ready':
      return onReady(state, event.link, event.generation, event.digest, nowMs)
    case 'voted':
      return onVoted(state, event.link, event.vote, nowMs)
    case 'evaluated': {
      const { step, loss, phase } = event
      return onEvaluated(state, event.link, event.generation, { step, loss, phase }, nowMs)
    }
    case 'mirrored':
      return onMirrored(state, event.link, event.generation, event.step, event.digests)
    case 'checkpointPart':
      return onCheckpointPart(state, event.link, event.generation, event.step, nowMs)
    case 'checkpointed':
      return onCheckpointed(state, event.link, event.generation, event.step, event.path, nowMs)
    case 'checkpointFailed':
      return onCheckpointFailed(state, event.link, event.generation, event.step, event.error, nowMs)
    case 'finished': {
      const { type: _, link, generation, step, ...report } = event
      return onFinished(state, link, generation, step, report, nowMs)
    }
    case 'failed':
      return onFailed(state, event.link, event.error, nowMs)
    case 'peerLost':
      return onPeerLost(state, event.link, event.generation, event.peerRank, event.error, nowMs)
    case 'linkStuck':
      return onLinkStuck(state, event.generation, event.links, event.forMs, nowMs)
    case 'left':
      return onLeft(state, event.link, event.reason, nowMs)
    case 'linkLost':
      return onLinkLost(state, event.link, event.reason, event.isSilent, nowMs)
    case 'measured':
      return onMeasured(state, event.speeds)
    case 'stopRequested':
      return onStopRequested(state, event.reason, nowMs)
    case 'coordinatorFailed':
      return state.phase === 'ended' ? keep(state, 'the run had ended already') : endFailed(state, event.error)
    case 'tick':
      return onTick(state, event.seen ?? {}, nowMs)
    default:
      return assertNever(event, 'react')
  }
}

function onTick(state: MembershipState, seen: SeenMoves, nowMs: Ms): Decision {
  const isLate = nowMs >= state.deadlineMs
  switch (state.phase) {
    case 'ended':
      return keep(state, 'the run has ended')
    case 'paused':
      // Someone may be admissible again who has failed often.
      return tryForm(state, [], nowMs, 'looked at again')
    case 'gathering':
      if (isLate && state.gathering.suspects.length > 0) return onSuspectsAlive(state, nowMs)
      return tryForm(state, [], nowMs, isLate ? 'the wait is over' : 'in time')
    case 'preparing':
      return isLate ? prepareTimeout(state, nowMs) : keep(state, 'in time')
    case 'training':
      return isLate ? stallTimeout(state, seen, nowMs) : considerRegroup(state, [], nowMs, 'in time')
    case 'finishing':
      return isLate ? finishTimeout(state, nowMs) : keep(state, 'in time')
    default:
      return assertNever(state.phase, 'onTick')
  }
}
