import { assertNever } from '@skein/core'
import { listNames, nameOf } from './members.ts'
import type { Member, MembershipState } from './state.ts'

/** What the run waits for, in words: the answer to "why does nothing happen?". */
export function whyWaiting(state: MembershipState): string {
  const without = (has: (member: Member) => boolean) => listNames(state.members.filter(m => !has(m)).map(nameOf))
  switch (state.phase) {
    case 'gathering': {
      const here = state.members.length === 0 ? '' : ` (here: ${listNames(state.members.map(m => m.workerId))})`
      const { numWorkers } = state.config
      return `waiting for ${numWorkers - state.members.length} of ${numWorkers} workers to join${here}`
    }
    case 'preparing':
      return `waiting for ${without(member => member.ready !== undefined)} to load model and data and to connect`
    case 'training':
      return `waiting for the votes of ${without(member => member.vote !== undefined)} for step ${state.committed.step + 1}`
    case 'stopping':
      return `stopping after step ${state.stop?.afterStep}: waiting for the votes of ${without(member => member.vote !== undefined)} for step ${state.committed.step + 1}`
    case 'finishing':
      return `waiting for ${without(member => member.finished !== undefined)} to evaluate, save and report the end`
    case 'aborting':
      return `waiting for the word of a worker that was reported lost: ${state.abort?.error.what}`
    case 'ended':
      return `nothing: ${state.outcome?.reason}`
    default:
      return assertNever(state.phase, 'whyWaiting')
  }
}
