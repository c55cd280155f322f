import type { Ms } from '@skein/core'
import { stallAfterMs } from './deadlines.ts'
import { type Decision, keep } from './effects.ts'
import { endFailed } from './ending.ts'
import { MembershipErrors } from './errors.ts'
import type { SeenMoves } from './events.ts'
import { evict } from './evicting.ts'
import { activeMembers, listNames, nameOf, partOfRank } from './members.ts'
import { errorRecord } from './refusing.ts'
import type { MembershipState } from './state.ts'

/** Between two looks at a step that takes too long while nobody stands out. */
const lookAgainMs = 1_000

/**
 * No commit for too long although every link is alive. Those are put out who have not come as far as the others, whose vote is missing
 * while others have voted, for whom others wait while they wait for nobody, or who have entered fewer collectives than the others who wait in
 * one for them, and whose device threads have stood still for all that time: one that is slow gets its time. After the longest wait there is, that it moves helps nobody, and
 * where nobody stands out the run ends.
 */
export function stallTimeout(state: MembershipState, seen: SeenMoves, nowMs: Ms): Decision {
  const { stallMs } = state.config.deadlines
  const active = activeMembers(state)
  const step = state.committed.step + 1
  const waitedMs = nowMs - state.movedMs
  const isLastLook = waitedMs >= stallMs
  const limitMs = isLastLook ? stallMs : stallAfterMs(state)
  const missing = active.filter(member => member.vote === undefined)
  // A pipe waits from stage to stage: only the end of the chain keeps it.
  const awaited = new Set(active.flatMap(({ workerId }) => seen[workerId]?.waitsFor ?? []))
  const keepers = missing.filter(
    ({ workerId }) => awaited.has(workerId) && seen[workerId] !== undefined && seen[workerId].waitsFor === undefined,
  )
  // Parts of a model do different work: who has one is compared with the others who have the same.
  const furthest = new Map<number, number>()
  for (const { workerId, rank } of active) {
    const part = partOfRank(state, rank)
    furthest.set(part, Math.max(furthest.get(part) ?? 0, seen[workerId]?.opsEntered ?? 0))
  }
  const behind = missing.filter(({ workerId, rank }) => {
    const most = furthest.get(partOfRank(state, rank)) ?? 0
    return (seen[workerId]?.opsEntered ?? most) < most
  })
  const suspects = keepers.length > 0 ? keepers : missing.length < active.length ? missing : behind
  const guilty = suspects.filter(({ workerId }) => isLastLook || (seen[workerId]?.stillMs ?? waitedMs) >= limitMs)
  const standsOut = guilty.length > 0 && guilty.length < active.length
  if (!standsOut && !isLastLook) {
    const deadlineMs = Math.min(nowMs + lookAgainMs, state.movedMs + stallMs)
    return keep(
      { ...state, deadlineMs },
      `step ${step} takes unusually long, but nobody stands still while others wait`,
    )
  }
  const error = errorRecord(MembershipErrors.STALLED, {
    what: `step ${step} has no vote of ${listNames((standsOut ? guilty : missing).map(nameOf))} after ${waitedMs} ms`,
    why: 'these workers are connected but their training does not move: a kernel hangs, or a step takes longer than that',
    todo: 'see the logs of these workers; if a step may take this long, raise elastic.limits.stepSeconds of the job',
    details: { step, generation: state.generation, limitMs },
  })
  if (!standsOut) return endFailed(state, error)
  return evict(state, guilty, nowMs, { error, reason: `its training did not move for ${limitMs} ms` })
}
