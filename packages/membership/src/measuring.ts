import { type Decision, type Effect, keep } from './effects.ts'
import type { MeasuredSpeed } from './events.ts'
import { activeMembers, linksOf, listNames } from './members.ts'
import { lastStepOf } from './newcomers.ts'
import { maxMembersShown } from './run-events.ts'
import { sharesBySpeed, slowestTime } from './shares.ts'
import type { MembershipState } from './state.ts'

/** So many steps are made with the same shares, and measured, before they may change: a lasting difference, and no hurry. */
export const stepsBetween = 20
/** A change must make the step faster by this factor, as far as can be told: what noise does is left alone. */
export const worthwhile = 1.1

/**
 * How fast the members are by the last steps. Only where the job asks for it: sums in another order are other bits, and times are never the
 * same twice.
 *
 * Where other shares make a step faster, they are announced three steps ahead: a member may be in the second step after the last commit,
 * but begins none beyond before it has heard of the commit between, which is sent after this.
 */
export function onMeasured(state: MembershipState, measured: readonly MeasuredSpeed[]): Decision {
  const { config, committed, generation } = state
  if (config.shares === 'equal') return keep(state, 'the job wants equal shares')
  if (state.phase !== 'training' || state.regroup !== undefined || state.reshare !== undefined) {
    return keep(state, 'shares stay as they are until the members or their shares have changed')
  }
  const fromStep = committed.step + 3
  if (committed.step - state.sharesSince < stepsBetween || fromStep > lastStepOf(state)) {
    return keep(state, 'shares stay as they are for now')
  }
  const active = activeMembers(state)
  const speedOf = new Map(measured.map(({ workerId, samplesPerSecond }) => [workerId, samplesPerSecond]))
  const speeds = active.map(({ workerId }) => speedOf.get(workerId) ?? 0)
  if (!speeds.every(speed => speed > 0 && Number.isFinite(speed))) return keep(state, 'not all are measured')
  const shares = sharesBySpeed(config.globalBatch, speeds)
  const present = active.map(({ share }) => share)
  const gain = slowestTime(present, speeds) / slowestTime(shares, speeds)
  if (gain < worthwhile) return keep(state, `other shares would make a step ${gain.toFixed(2)} times as fast`)
  const said = active.map(({ workerId }, rank) => `${workerId} ${present[rank]} → ${shares[rank]}`)
  const reason = `a step becomes ${gain.toFixed(2)} times as fast by the speeds of the last steps: ${listNames(said)} samples`
  const members = active.map(({ workerId }, rank) => ({ workerId, rank, share: shares[rank] as number }))
  const effects: Effect[] = [
    { type: 'append', record: { type: 'shares', generation, fromStep, shares } },
    {
      type: 'emit',
      event: { event: 'shares', generation, fromStep, reason, ...(active.length > maxMembersShown ? {} : { members }) },
    },
    { type: 'broadcast', links: linksOf(active), message: { type: 'shares', generation, fromStep, shares } },
  ]
  return {
    state: {
      ...state,
      reshare: { fromStep, shares },
      speeds: Object.fromEntries(active.map(({ workerId }, rank) => [workerId, speeds[rank] as number])),
    },
    effects,
    reason: `from step ${fromStep} on ${reason}`,
  }
}
