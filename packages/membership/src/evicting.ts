import type { ErrorRecord, Ms } from '@skein/core'
import { type Decision, type Effect, withEffects } from './effects.ts'
import { tryForm } from './forming.ts'
import { removeMember } from './leaving.ts'
import { listNames, nameOf } from './members.ts'
import type { Member, MembershipState } from './state.ts'

/** Puts members out, and goes on without them. They may come back as new incarnations; what they hold then counts where the log says the same. */
export function evict(
  state: MembershipState,
  members: readonly Member[],
  nowMs: Ms,
  { error, reason }: { readonly error: ErrorRecord; readonly reason: string },
): Decision {
  let rest = state
  const effects: Effect[] = []
  for (const member of members) {
    const removed = removeMember(rest, member, 'evicted', reason, nowMs, {
      isFenced: true,
      isStrike: true,
      withholdForm: true,
    })
    rest = removed.state
    effects.push(
      ...removed.effects,
      { type: 'send', link: member.link, message: { type: 'refuse', error: { ...error, retry: 'next-generation' } } },
      { type: 'close', link: member.link, reason },
    )
  }
  const why = `${listNames(members.map(nameOf))} evicted: ${reason}`
  if (rest.phase !== 'gathering' && rest.phase !== 'paused') return { state: rest, effects, reason: why }
  return withEffects(tryForm(rest, [], nowMs, why), effects)
}
