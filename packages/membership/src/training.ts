import { combinedDigest, type ErrorRecord, type Ms, partOf } from '@skein/core'
import { withWholeLinks } from './accusations.ts'
import { stallAfterMs, withMove } from './deadlines.ts'
import { withSharesOfNext } from './dividing.ts'
import { type Decision, type Effect, keep } from './effects.ts'
import { endFailed } from './ending.ts'
import { MembershipErrors } from './errors.ts'
import { evict } from './evicting.ts'
import { endGeneration } from './leaving.ts'
import {
  activeMembers,
  formatGroups,
  isActive,
  linksOf,
  listNames,
  memberOfLink,
  nameOf,
  partOfRank,
  saidPart,
  withMember,
} from './members.ts'
import type { Vote } from './messages.ts'
import { withMirrorDue } from './mirroring.ts'
import { considerRegroup, lastStepOf } from './newcomers.ts'
import { isRegroupDue, nextGeneration } from './regrouping.ts'
import { errorRecord, refuseMessage, refuseStranger } from './refusing.ts'
import { maxMembersShown, type StepEvent, type StepMember } from './run-events.ts'
import type { LinkId, Member, MembershipState } from './state.ts'

/** A member reports what it holds after a step. A step exists when all have reported for it, those of a part one digest, and all one loss. */
export function onVoted(state: MembershipState, link: LinkId, vote: Vote, nowMs: Ms): Decision {
  const member = memberOfLink(state, link)
  if (member === undefined) return refuseStranger(state, link, `a vote for step ${vote.step}`)
  if (state.phase === 'ended') return keep(state, `${nameOf(member)} voted after the end of the run`)
  // Generations end while votes are on their way.
  if (vote.generation < state.generation || (vote.generation === state.generation && !isActive(member))) {
    return keep(state, `${nameOf(member)} voted for step ${vote.step} of generation ${vote.generation}, which is over`)
  }
  const wrong = whyWrong(state, member, vote)
  if (wrong !== undefined) {
    return refuseMessage(state, member, `a vote for step ${vote.step} of generation ${vote.generation}`, wrong)
  }
  if (vote.step === state.committed.step) return keep(state, `step ${vote.step} is committed already`)
  if (member.vote !== undefined) return keep(state, `${nameOf(member)} voted for step ${vote.step} already`)
  const { step, digest } = vote
  const part = partOfRank(state, member.rank)
  // An undone step leaves the one before it.
  const next = withMember(state, member.workerId, {
    vote,
    holds: [{ part, step, digest }, ...member.holds.slice(0, 1)],
  })
  const { voted, active: numActive } = next.members.tally
  if (voted < numActive) {
    return { state: next, effects: [], reason: `${nameOf(member)} voted for step ${step}` }
  }
  const active = activeMembers(next)
  const votes = active.flatMap(other => (other.vote === undefined ? [] : [other.vote]))
  const samples = samplesDisagreement(next, active, step)
  if (samples !== undefined) return endFailed(next, samples)
  const digests = digestDisagreement(next, active, step)
  if (digests !== undefined) {
    const { error, minority } = digests
    if (minority === undefined) return withoutMajority(next, step, error, nowMs)
    return evict(next, minority, nowMs, {
      error,
      reason: `its parameters after step ${step} differ from the majority's`,
    })
  }
  const loss = lossDisagreement(active, step)
  return loss === undefined ? commit(next, active, votes, nowMs) : withoutMajority(next, step, loss, nowMs)
}

/** Why this vote cannot be taken; undefined when it can, or repeats what is known. */
function whyWrong(state: MembershipState, member: Member, vote: Vote): string | undefined {
  if (vote.generation !== state.generation) return `this is generation ${state.generation}`
  const { step, digests } = state.committed
  if (state.phase === 'preparing') return 'the run is preparing'
  if (vote.step === step && vote.step > state.startStep) {
    const digest = digests?.[partOfRank(state, member.rank)]
    return vote.digest === digest ? undefined : `step ${step} is committed with digest ${digest}`
  }
  if (state.phase !== 'training') return `the run is ${state.phase}`
  if (vote.step !== step + 1) return `the next step to commit is ${step + 1}`
  if (member.vote !== undefined && member.vote.digest !== vote.digest) {
    return `it has voted for this step with digest ${member.vote.digest}`
  }
  return undefined
}

function commit(state: MembershipState, active: readonly Member[], votes: readonly Vote[], nowMs: Ms): Decision {
  const { generation, config } = state
  // All agree on step, samples, tokens and loss, and those of a part on its digest; ranks are in order, so the first are the first replica.
  const { step, samples, tokens, loss } = votes[0] as Vote
  const digests = votes.slice(0, config.parts).map(vote => vote.digest)
  const digest = combinedDigest(digests)
  const max = (value: (vote: Vote) => number) => votes.reduce((most, vote) => Math.max(most, value(vote)), 0)
  const event: StepEvent = {
    event: 'step',
    step,
    totalSteps: config.totalSteps,
    loss,
    tokens,
    samples,
    generation,
    workers: votes.length,
    digest,
    stepMs: max(vote => vote.stepMs),
    computeMs: max(vote => vote.computeMs),
    commMs: max(vote => vote.commMs),
    waitMs: max(vote => vote.waitMs),
    bytesSent: votes.reduce((sum, vote) => sum + vote.bytesSent, 0),
    rssBytes: max(vote => vote.rssBytes),
    liveTensors: max(vote => vote.liveTensors),
    elapsedMs: nowMs - (state.startedMs ?? nowMs),
    ...(votes.length > maxMembersShown ? {} : { members: active.flatMap(member => shownMember(state, member)) }),
  }
  const effects: Effect[] = [
    {
      type: 'append',
      record: {
        type: 'commit',
        generation,
        step,
        samplesFrom: samples[0],
        samplesTo: samples[1],
        digest,
        ...(config.parts === 1 ? {} : { digests }),
        loss,
      },
    },
    { type: 'emit', event },
    ...state.pendingEvaluations.map(
      (evaluation): Effect => ({ type: 'emit', event: { event: 'eval', ...evaluation } }),
    ),
  ]
  const isLast = step >= lastStepOf(state)
  const committed = withSharesOfNext({
    ...withWholeLinks(withMove(state, nowMs), new Set(active.map(({ workerId }) => workerId))),
    phase: isLast ? 'finishing' : state.phase,
    members: state.members.each(member => (isActive(member) ? { ...member, vote: undefined } : member)),
    accusations: {},
    disputedStep: undefined,
    failure: undefined,
    committed: { step, digests, samplesTo: samples[1] },
    pendingEvaluations: [],
    tokens: state.tokens + tokens,
    peakRssBytes: Math.max(state.peakRssBytes, event.rssBytes),
    lastCommitMs: nowMs,
  })
  const next = { ...committed, deadlineMs: nowMs + (isLast ? config.deadlines.finishMs : stallAfterMs(committed)) }
  const reason = `step ${step} committed`
  const { state: going, effects: ofMirror, told } = withMirrorDue(next)
  effects.push(...ofMirror, {
    type: 'broadcast',
    links: linksOf(active),
    message: { type: 'commit', generation, step, digest, ...told },
  })
  if (isLast) return { state: going, effects, reason: `${reason}, the last one` }
  if (isRegroupDue(going)) return nextGeneration(going, effects, nowMs)
  return considerRegroup(going, effects, nowMs, reason)
}

function shownMember({ config }: MembershipState, { workerId, rank, part, share, vote }: Member): StepMember[] {
  if (rank === undefined || vote === undefined) return []
  const place = { workerId, rank, ...(config.parts === 1 || part === undefined ? {} : { part }), share }
  const { stepMs, computeMs, commMs, waitMs, bytesSent, rssBytes } = vote
  return [{ ...place, stepMs, computeMs, commMs, waitMs, bytesSent, rssBytes }]
}

/** Of the first part whose members differ: who differs from its majority; undefined, where there is none. */
function digestDisagreement(
  state: MembershipState,
  active: readonly Member[],
  step: number,
): { readonly error: ErrorRecord; readonly minority: readonly Member[] | undefined } | undefined {
  for (let part = 0; part < state.config.parts; part++) {
    const ofPart = active.filter(({ rank }) => partOfRank(state, rank) === part)
    const groups = groupVotes(ofPart, vote => vote.digest)
    if (groups.size <= 1) continue
    const largest = Math.max(...[...groups.values()].map(names => names.length))
    const leaders = [...groups].filter(([, names]) => names.length === largest)
    const minority = [...groups].filter(([, names]) => leaders.length > 1 || names.length < largest)
    const [majority] = leaders.length > 1 ? [] : leaders
    const said = minority.map(([digest, names]) => `${listNames(names)} with ${digest}`).join('; ')
    const names = minority.flatMap(([, some]) => some)
    const whose = saidPart(state, part)
    const error = errorRecord(MembershipErrors.DIGEST_MISMATCH, {
      what:
        majority === undefined
          ? `after step ${step} the workers${whose} hold different parameters, and no digest has a majority: ${said}`
          : `after step ${step} these workers${whose} differ from the majority's digest ${majority[0]}: ${said}`,
      why: 'memory or frames were corrupted, or a computation is not deterministic across these machines',
      todo: 'the step was not committed: resume from the last checkpoint, without the workers named here if it happens again',
      details: { step, digests: Object.fromEntries(groups), minority: names },
    })
    return {
      error,
      minority: majority === undefined ? undefined : ofPart.filter(member => names.includes(member.workerId)),
    }
  }
  return undefined
}

/** All have one mean loss of the whole step: one that has another one did not take part in the same sum. */
function lossDisagreement(active: readonly Member[], step: number): ErrorRecord | undefined {
  const groups = groupVotes(active, vote => String(vote.loss))
  if (groups.size <= 1) return undefined
  return errorRecord(MembershipErrors.LOSS_MISMATCH, {
    what: `after step ${step} the workers report different losses: ${formatGroups(groups)}`,
    why: 'memory or frames were corrupted, or a computation is not deterministic across these machines',
    todo: 'the step was not committed: resume from the last checkpoint, and test the machines of the workers named here',
    details: { step, losses: Object.fromEntries(groups) },
  })
}

/**
 * Nobody can say who is wrong, but all hold the state before: it is compared with the log, and the step is made again. What was a flipped
 * bit of one of them is gone, or shows there; the second time the run ends.
 */
function withoutMajority(state: MembershipState, step: number, error: ErrorRecord, nowMs: Ms): Decision {
  if (state.disputedStep === step) return endFailed(state, error)
  const why = `${error.what}; the step is made again`
  return endGeneration({ ...state, disputedStep: step }, [], {
    error: { ...error, retry: 'next-generation' },
    why,
    nowMs,
  })
}

/** Each sample once: all votes name the same range, it begins where the last commit ended, and every member took its share of it. */
function samplesDisagreement(state: MembershipState, active: readonly Member[], step: number): ErrorRecord | undefined {
  const groups = groupVotes(active, vote => `[${vote.samples[0]}, ${vote.samples[1]}) of ${vote.tokens} tokens`)
  const [from, to] = active[0]?.vote?.samples ?? [0, 0]
  const cursor = state.committed.samplesTo
  if (groups.size === 1 && to > from && (cursor === undefined || cursor === from))
    return sharesDisagreement(state, active, step)
  const said = [...groups].map(([samples, names]) => `${samples} from ${listNames(names)}`).join('; ')
  return errorRecord(MembershipErrors.SAMPLES_MISMATCH, {
    what: `votes for step ${step} name samples ${said}; the next sample is ${cursor ?? from}`,
    why: 'the workers run jobs with different batch sizes, or the job was changed between checkpoint and resume',
    todo: 'give all workers the same job; resume with the batch size that the checkpoint was made with',
    details: { step, samplesTo: cursor },
  })
}

/** Who did not take the samples that are its own; replicas take them one after the other. */
function sharesDisagreement(
  { config }: MembershipState,
  active: readonly Member[],
  step: number,
): ErrorRecord | undefined {
  let [next] = active[0]?.vote?.samples ?? [0, 0]
  for (const [rank, member] of active.entries()) {
    const [from, to] = member.vote?.took ?? [0, 0]
    if (from !== next || to !== next + member.share) {
      return errorRecord(MembershipErrors.SAMPLES_MISMATCH, {
        what: `${nameOf(member)} took the samples [${from}, ${to}) of step ${step}; its own are [${next}, ${next + member.share})`,
        why: 'a worker of another build, or one that has missed a change of the shares',
        todo: 'install the same version everywhere; the step was not committed, so resume from the last checkpoint',
        details: { step, workerId: member.workerId, share: member.share },
      })
    }
    // All parts of a replica take the same ones.
    if (partOf(rank, config.parts) === config.parts - 1) next = to
  }
  return undefined
}

function groupVotes(members: readonly Member[], key: (vote: Vote) => string): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const { workerId, vote } of members) {
    if (vote === undefined) continue
    const names = groups.get(key(vote))
    if (names === undefined) groups.set(key(vote), [workerId])
    else names.push(workerId)
  }
  return groups
}
