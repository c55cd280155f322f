import { assertNever } from '@skein/core'
import { isFirst } from './forming.ts'
import { activeMembers, listNames, nameOf } from './members.ts'
import type { Member, MembershipState } from './state.ts'

/** What the run waits for, in words: the answer to "why does nothing happen?". */
export function whyWaiting(state: MembershipState): string {
  const active = activeMembers(state)
  const without = (has: (member: Member) => boolean) => listNames(active.filter(m => !has(m)).map(nameOf))
  switch (state.phase) {
    case 'gathering': {
      const { suspects, expected } = state.gathering
      const here = state.members.map(member => member.workerId)
      const pending = [
        ...suspects.filter(name => here.includes(name)),
        ...expected.filter(name => !here.includes(name)),
      ]
      if (!isFirst(state)) {
        const whom = pending.length === 0 ? 'workers' : listNames(pending)
        return `waiting for ${whom} before generation ${state.generation + 1} begins at step ${state.committed.step}`
      }
      const names = here.length === 0 ? '' : ` (here: ${listNames(here)})`
      return `waiting for ${Math.max(0, state.config.numWorkers - here.length)} of ${state.config.numWorkers} workers to join${names}`
    }
    case 'paused':
      return `paused after step ${state.committed.step}: waiting for workers, at least ${state.config.minWorkers} are needed and ${state.members.length} are here`
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
