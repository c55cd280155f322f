import { assertNever } from '@skein/core'
import { isKept } from './candidates.ts'
import { activeMembers, listNames, nameOf } from './members.ts'
import { leastWorkers } from './seating.ts'
import type { Member, MembershipState } from './state.ts'

/** What the run waits for, in words: the answer to "why does nothing happen?". */
export function whyWaiting(state: MembershipState): string {
  const active = activeMembers(state)
  const without = (has: (member: Member) => boolean) => listNames(active.filter(m => !has(m)).map(nameOf))
  switch (state.phase) {
    case 'gathering': {
      const { isFirst, suspects, expected } = state.gathering
      const here = state.members.map(member => member.workerId)
      const pending = [...suspects, ...expected]
      if (!isFirst) {
        const whom = pending.length === 0 ? 'workers' : listNames(pending)
        return `waiting for ${whom} before generation ${state.generation + 1} begins at step ${state.committed.step}${saidMirror(state)}`
      }
      const names = here.length === 0 ? '' : ` (here: ${listNames(here)})`
      return `waiting for ${Math.max(0, state.config.numWorkers - here.length)} of ${state.config.numWorkers} workers to join${names}`
    }
    case 'paused':
      return `paused after step ${state.committed.step}: ${whyPaused(state)}${saidMirror(state)}`
    case 'preparing':
      return `waiting for ${without(member => member.ready !== undefined)} to connect and to hold step ${state.startStep}`
    case 'training': {
      const votes = `waiting for the votes of ${without(member => member.vote !== undefined)} for step ${state.committed.step + 1}`
      return state.stop === undefined ? votes : `stopping after step ${state.stop.afterStep}: ${votes}`
    }
    case 'finishing':
      return `waiting for ${without(member => member.finished !== undefined)} to evaluate, save and report the end`
    case 'ended':
      return `nothing: ${state.outcome?.reason}`
    default:
      return assertNever(state.phase, 'whyWaiting')
  }
}

/** What may be gone back to without a checkpoint. */
const saidMirror = ({ mirror }: MembershipState): string =>
  mirror === undefined ? '' : `; the last mirrored step is ${mirror.step}`

function whyPaused(state: MembershipState): string {
  const { config, members } = state
  const least = leastWorkers(config)
  if (members.length < least) return `waiting for workers, at least ${least} are needed and ${members.length} are here`
  const loading = members.filter(member => member.loaded === undefined).map(nameOf)
  if (loading.length > 0) return `waiting for ${listNames(loading)} to open model and data`
  return isKept(state)
    ? 'waiting until workers that have failed often are taken in again'
    : 'waiting for a worker that holds this step'
}
