import { assertNever, type Ms } from '@skein/core'
import { type Decision, keep } from './effects.ts'
import type { MembershipEvent } from './events.ts'
import { endAbort, endFailed, onFailed, onLeft, onLinkLost } from './failing.ts'
import { finishTimeout, onCheckpointed, onEvaluated, onFinished, onStopRequested } from './finishing.ts'
import { gatherTimeout, onJoined, onRecovered } from './gathering.ts'
import { onReady, prepareTimeout } from './preparing.ts'
import type { MembershipState } from './state.ts'
import { onVoted, stallTimeout } from './training.ts'

/**
 * The membership of a run: what an event does to the state, which effects follow, and why.
 *
 * Pure: the same state, event and time give the same decision, so a run replays from its events. Never throws on what a worker
 * says. `nowMs` is monotonic and never goes back.
 */
export function decide(state: MembershipState, event: MembershipEvent, nowMs: Ms): Decision {
  switch (event.type) {
    case 'recovered':
      return onRecovered(state, event)
    case 'joined':
      return onJoined(state, event, nowMs)
    case 'ready': {
      const { digest, dataFingerprint, numParams } = event
      return onReady(state, event.link, event.generation, { digest, dataFingerprint, numParams }, nowMs)
    }
    case 'voted':
      return onVoted(state, event.link, event.vote, nowMs)
    case 'evaluated': {
      const { step, loss, phase } = event
      return onEvaluated(state, event.link, event.generation, { step, loss, phase }, nowMs)
    }
    case 'checkpointed':
      return onCheckpointed(state, event.link, event.generation, event.step, event.path, nowMs)
    case 'finished': {
      const { type: _, link, generation, step, ...report } = event
      return onFinished(state, link, generation, step, report, nowMs)
    }
    case 'failed':
      return onFailed(state, event.link, event.error, event.peerRank, nowMs)
    case 'left':
      return onLeft(state, event.link, event.reason)
    case 'linkLost':
      return onLinkLost(state, event.link, event.reason)
    case 'stopRequested':
      return onStopRequested(state, event.reason, nowMs)
    case 'coordinatorFailed':
      return state.phase === 'ended' ? keep(state, 'the run had ended already') : endFailed(state, event.error)
    case 'tick':
      return onTick(state, nowMs)
    default:
      return assertNever(event, 'decide')
  }
}

function onTick(state: MembershipState, nowMs: Ms): Decision {
  if (state.phase === 'ended' || nowMs < state.deadlineMs) return keep(state, 'in time')
  switch (state.phase) {
    case 'gathering':
      return gatherTimeout(state)
    case 'preparing':
      return prepareTimeout(state)
    case 'training':
    case 'stopping':
      return stallTimeout(state)
    case 'finishing':
      return finishTimeout(state)
    case 'aborting':
      return endAbort(state)
    default:
      return assertNever(state.phase, 'onTick')
  }
}
