import type { Ms } from '@skein/core'
import { type Cause, explain, type FlightRecord, heldUpAfterMs, inWords, type Situation } from '@skein/diagnosis'
import { type Member, type MembershipState, whyWaiting } from '@skein/membership'
import type { FailureReports } from './failure-reports.ts'
import type { FlightRecords, ReceivedFlight } from './flight-records.ts'
import type { LinkFacts } from './status.ts'
import type { StepWatch } from './step-watch.ts'

/** The answer to GET /why. */
export interface RunWhy {
  readonly runId: string
  readonly phase: MembershipState['phase']
  readonly generation: number
  /** The last committed step. */
  readonly step: number
  /** Since that commit, where another is due. */
  readonly waitedMs: Ms | null
  /** What holds the run up, in one sentence. */
  readonly summary: string
  /** Ranks and links that do, the worst first. */
  readonly causes: readonly Cause[]
  readonly workers: readonly WorkerWhy[]
  /** What ended the newest generation that failed. */
  readonly failure: GenerationFailure | null
}

export interface WorkerWhy {
  readonly workerId: string
  readonly rank: number | null
  readonly lastSeenMs: Ms | null
  readonly hasVoted: boolean
  /** How long it has computed without asking for a collective; null where it gave no record. */
  readonly computingMs: Ms | null
  readonly usualComputeMs: Ms | null
  readonly samplesPerSecond: number | null
  readonly straggler: { readonly factor: number; readonly reason: string } | null
  /** The collective that it is in. */
  readonly waitsIn: { readonly op: string; readonly forMs: Ms } | null
}

export interface GenerationFailure {
  readonly generation: number
  readonly summary: string
  readonly reports: readonly {
    readonly workerId: string | null
    readonly about: string | null
    readonly code: string | null
    readonly what: string
    /** After the first report. */
    readonly afterMs: Ms
  }[]
  /** Where each worker was when it heard of the failure. */
  readonly ops: readonly { readonly workerId: string; readonly op: string; readonly forMs: Ms }[]
}

export interface WhyParts {
  readonly state: MembershipState
  readonly facts: (link: string) => LinkFacts | undefined
  readonly steps: StepWatch
  readonly flights: FlightRecords
  readonly failures: FailureReports
  /** Records that came in before are too old. */
  readonly askedMs: Ms
  readonly nowMs: Ms
}

const isTraining = ({ phase }: MembershipState) => phase === 'training'

/** Whether the step that comes next takes far longer than usual. */
export function isHeldUp(state: MembershipState, steps: StepWatch, nowMs: Ms): boolean {
  return isTraining(state) && waitedMs(state, nowMs) > heldUpAfterMs(steps.usualStepMs)
}

/** What the workers have answered, by rank. */
export const flightsOf = (parts: WhyParts): FlightRecord[] =>
  [...parts.state.members].flatMap(member => recordOf(member, answerOf(parts, member), parts.nowMs))

export function whyOf(parts: WhyParts): RunWhy {
  const { state, steps, nowMs } = parts
  const workers = state.members.map(member => ({ member, answer: answerOf(parts, member) }))
  const explanation = isTraining(state)
    ? explain({
        step: state.committed.step + 1,
        waitedMs: waitedMs(state, nowMs),
        usualStepMs: steps.usualStepMs,
        members: [...state.members].flatMap(member => factsOf(parts, member)),
        records: workers.flatMap(({ member, answer }) => recordOf(member, answer, nowMs)),
      })
    : { summary: restsFor(state), causes: [] }
  return {
    runId: state.config.runId,
    phase: state.phase,
    generation: state.generation,
    step: state.committed.step,
    waitedMs: isTraining(state) ? waitedMs(state, nowMs) : null,
    ...explanation,
    workers: workers.map(({ member, answer }) => workerOf(parts, member, answer)),
    failure: failureOf(parts) ?? null,
  }
}

const restsFor = (state: MembershipState) =>
  state.outcome === undefined ? whyWaiting(state) : `the run has ended: ${state.outcome.reason}`

const waitedMs = ({ lastCommitMs, startedMs }: MembershipState, nowMs: Ms): Ms =>
  nowMs - (lastCommitMs ?? startedMs ?? nowMs)

function answerOf({ flights, state, askedMs }: WhyParts, { workerId }: Member): ReceivedFlight | undefined {
  return flights.answerOf(workerId, state.generation, askedMs)
}

function lastSeenMs({ facts, nowMs }: WhyParts, { link }: Member): Ms | undefined {
  const seen = link === undefined ? undefined : facts(link)
  return seen === undefined ? undefined : nowMs - seen.lastSeenMs
}

function factsOf(parts: WhyParts, member: Member): Situation['members'] {
  const { workerId, rank, vote } = member
  if (rank === undefined) return []
  const answer = answerOf(parts, member)
  return [
    {
      workerId,
      rank,
      lastSeenMs: lastSeenMs(parts, member),
      hasVoted: vote !== undefined,
      computingMs: answer === undefined ? undefined : computingMs(answer, parts.nowMs),
      usualComputeMs: parts.steps.usualComputeMs(workerId),
      straggler: parts.steps.stragglerOf(workerId)?.reason,
    },
  ]
}

const computingMs = ({ message, receivedMs }: ReceivedFlight, nowMs: Ms): Ms => message.computingMs + nowMs - receivedMs

function recordOf({ rank }: Member, answer: ReceivedFlight | undefined, nowMs: Ms): FlightRecord[] {
  if (rank === undefined || answer === undefined) return []
  return [{ rank, ageMs: nowMs - answer.receivedMs, ops: answer.message.ops }]
}

function workerOf(parts: WhyParts, member: Member, answer: ReceivedFlight | undefined): WorkerWhy {
  const { steps, nowMs } = parts
  const { workerId, rank, vote } = member
  const straggler = steps.stragglerOf(workerId)
  const open = answer?.message.ops.find(op => op.leftAgoMs === undefined)
  return {
    workerId,
    rank: rank ?? null,
    lastSeenMs: lastSeenMs(parts, member) ?? null,
    hasVoted: vote !== undefined,
    computingMs: answer === undefined ? null : computingMs(answer, nowMs),
    usualComputeMs: steps.usualComputeMs(workerId) ?? null,
    samplesPerSecond: steps.speeds.find(speed => speed.workerId === workerId)?.samplesPerSecond ?? null,
    straggler: straggler === undefined ? null : { factor: straggler.factor, reason: straggler.reason },
    waitsIn:
      answer === undefined || open === undefined
        ? null
        : { op: `${open.name} #${open.opSeq}`, forMs: open.enteredAgoMs + nowMs - answer.receivedMs },
  }
}

function failureOf({ state, flights, failures }: WhyParts): GenerationFailure | undefined {
  const newest = failures.newest
  const [first] = newest?.reports ?? []
  if (newest === undefined || first === undefined) return undefined
  const { generation, reports } = newest
  const ops = [...state.members].flatMap(({ workerId }) => {
    const words = flights.lastWordsOf(workerId, generation)
    const op = words?.message.ops.find(({ outcome }) => outcome !== 'done')
    if (op === undefined) return []
    return [{ workerId, op: `${op.name} #${op.opSeq}`, forMs: op.enteredAgoMs - (op.leftAgoMs ?? 0) }]
  })
  const where = ops.map(({ workerId, op, forMs }) => `${workerId} had been in ${op} for ${inWords(forMs)}`)
  return {
    generation,
    summary: [
      `generation ${generation} failed: ${first.workerId ?? 'the coordinator'} saw it first: ${first.what}`,
      ...where,
    ].join('; '),
    reports: reports.map(({ atMs, ...report }) => ({ ...report, afterMs: atMs - first.atMs })),
    ops,
  }
}
