import { mirroredPart } from '@skein/core'
import { type Decision, type Effect, keep } from './effects.ts'
import { activeMembers, isActive, linksOf, listNames, memberOfLink, nameOf, partOfRank, withMember } from './members.ts'
import { lastStepOf } from './newcomers.ts'
import { refuseMessage, refuseStranger } from './refusing.ts'
import type { KeptStep, LinkId, Member, MembershipState } from './state.ts'

/*
 * A mirrored step is a checkpoint in the memory of the members: each keeps its own part and that of its neighbour, so that whoever dies alone takes
 * nothing along. Every `mirrorEvery` steps, and where a generation begins, as neighbours are others then.
 *
 * A worker has room for two such steps. When it is told to mirror another one it writes over the one that is not `mirror`, the last whole one; and it
 * has heard of all that was decided before it is told. So there is one under way at a time, and one that was given up is never whole.
 */

/** Intervals after which a mirror that is not whole is given up for the next one; so long it may take on slow links. */
const patience = 10

/** To be asked after a commit, or when a generation has started: whether all are told to mirror that step, and what becomes of the mirror under way. */
export function withMirrorDue(state: MembershipState): {
  readonly state: MembershipState
  readonly effects: readonly Effect[]
  /** What is added to the word of the commit, or of the start. */
  readonly told: { readonly mirror?: true }
} {
  const { config, committed, mirroring, startStep, regroup } = state
  const { step, digests } = committed
  const { mirrorEvery } = config
  const isNow = step === startStep || step % mirrorEvery === 0
  const isGoingOn = step < Math.min(lastStepOf(state), regroup?.afterStep ?? Number.POSITIVE_INFINITY)
  const isLate = mirroring !== undefined && step - mirroring.step >= patience * mirrorEvery
  const isDue = mirrorEvery > 0 && step > 0 && isNow && isGoingOn && (mirroring === undefined || isLate)
  if (!isDue || digests === undefined) return { state, effects: [], told: {} }
  const next = { ...state, mirroring: { step, digests } }
  if (!isLate) return { state: next, effects: [], told: { mirror: true } }
  const late = activeMembers(state).filter(member => !keepsStep(member, mirroring.step))
  const reason = `${listNames(late.map(nameOf))} had no copies of it by step ${step}: ${saidBack(state)}`
  const event: Effect = { type: 'emit', event: { event: 'mirror-late', step: mirroring.step, reason } }
  return { state: next, effects: [event], told: { mirror: true } }
}

const saidBack = ({ mirror, checkpoint }: MembershipState): string =>
  `where a part is lost the run goes back to step ${Math.max(mirror?.step ?? 0, checkpoint?.step ?? 0)}`

const keepsStep = ({ keeps }: Member, step: number): boolean => keeps.some(kept => kept.step === step)

/** A member keeps its two parts of a step. When all do, that is the step the run goes back to where it must. */
export function onMirrored(
  state: MembershipState,
  link: LinkId,
  generation: number,
  step: number,
  digests: KeptStep['digests'],
): Decision {
  const what = `copies of step ${step}`
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, what)
  if (state.phase === 'ended') return keep(state, `${what} after the end of the run`)
  if (generation > state.generation) return refuseMessage(state, member, what, `this is generation ${state.generation}`)
  if (generation < state.generation || !isActive(member))
    return keep(state, `${nameOf(member)} has ${what}, of generation ${generation}, which is over`)
  const { mirroring, mirror, config } = state
  if (mirroring?.step !== step) return keep(state, `${nameOf(member)} has ${what}, which was given up`)
  const part = partOfRank(state, member.rank)
  const wanted = [mirroring.digests[part], mirroring.digests[mirroredPart(part, config.parts)]]
  if (digests[0] !== wanted[0] || digests[1] !== wanted[1])
    return keep(state, `${nameOf(member)} has ${what} that are not what was committed: ${digests.join(', ')}`)
  const last = member.keeps.filter(kept => kept.step === mirror?.step && kept.step !== step)
  const next = withMember(state, member.workerId, { keeps: [{ step, part, digests }, ...last] })
  const missing = activeMembers(next).filter(other => !keepsStep(other, step))
  const why = `${nameOf(member)} has ${what}`
  if (missing.length > 0) return keep(next, `${why}; ${missing.length} have not`)
  return {
    state: {
      ...next,
      mirror: mirroring,
      mirroring: undefined,
      members: next.members.each(other => ({ ...other, keeps: other.keeps.filter(kept => kept.step === step) })),
    },
    effects: [
      { type: 'emit', event: { event: 'mirrored', step } },
      {
        type: 'broadcast',
        links: linksOf(activeMembers(next)),
        message: { type: 'mirror-whole', generation, step },
      },
    ],
    reason: `${why}: every part of it is kept by two`,
  }
}
