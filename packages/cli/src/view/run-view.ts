import { partOf } from '@skein/core'
import { numberField, type RunEvent, recordField, textField as rawText } from '../run-event.ts'
import { oneLine } from './text.ts'

/** What one worker is doing, as far as the events tell. */
export interface WorkerView {
  readonly workerId: string
  /** Undefined until it got its place in the generation. */
  readonly rank: number | undefined
  /** Of the model, where it is cut. */
  readonly part?: number
  /** The last change the coordinator reported: joined, ready, lost … */
  readonly change: string
  readonly reason: string | undefined
  readonly backend: string | undefined
  /** The timings of its last step, in ms; undefined where the coordinator does not say. */
  readonly computeMs: number | undefined
  readonly waitMs: number | undefined
  readonly rssBytes: number | undefined
  /** How many times as long as the others it takes, while it counts as a straggler. */
  readonly slowFactor: number | undefined
}

export interface RecentStep {
  readonly step: number
  readonly stepMs: number
  readonly tokens: number
  /** Since the workers started training; counts evaluations and checkpoints between the steps too. */
  readonly elapsedMs: number | undefined
}

export type RunPhase = 'starting' | 'training' | 'stopping' | 'done' | 'failed'

/** Everything the live view shows: the fold of the run's events. Plain data; {@link advance} is the only way it changes. */
export interface RunView {
  readonly jobName: string
  readonly runDir: string | undefined
  readonly phase: RunPhase
  /** One sentence on what goes on now. */
  readonly note: string
  /** Whom the step under way waits for; undefined unless it takes far longer than usual. */
  readonly heldUp: string | undefined
  readonly startStep: number
  readonly step: number
  readonly totalSteps: number | undefined
  /** Training losses of all steps seen, in nats, thinned by two when over `maxLosses`. */
  readonly losses: readonly number[]
  /** Each entry of `losses` stands for this many steps. */
  readonly lossStride: number
  readonly loss: number | undefined
  readonly valLoss: number | undefined
  readonly valStep: number | undefined
  readonly untrainedLoss: number | undefined
  readonly baselineLoss: number | undefined
  readonly tokens: number
  readonly bytesSent: number
  /** The last `recentSteps` steps, for rates. */
  readonly recent: readonly RecentStep[]
  readonly stepMs: number | undefined
  readonly computeMs: number | undefined
  readonly commMs: number | undefined
  readonly digest: string | undefined
  readonly generation: number | undefined
  readonly workers: readonly WorkerView[]
  readonly checkpoint: string | undefined
  readonly error: { readonly code: string; readonly message: string; readonly todo: string } | undefined
}

const maxLosses = 1024
const recentSteps = 20

export function startOfRun(jobName: string): RunView {
  return {
    jobName,
    runDir: undefined,
    phase: 'starting',
    note: 'starting the coordinator and the workers',
    heldUp: undefined,
    startStep: 0,
    step: 0,
    totalSteps: undefined,
    losses: [],
    lossStride: 1,
    loss: undefined,
    valLoss: undefined,
    valStep: undefined,
    untrainedLoss: undefined,
    baselineLoss: undefined,
    tokens: 0,
    bytesSent: 0,
    recent: [],
    stepMs: undefined,
    computeMs: undefined,
    commMs: undefined,
    digest: undefined,
    generation: undefined,
    workers: [],
    checkpoint: undefined,
    error: undefined,
  }
}

/** The view after one more event. Pure; unknown events change nothing. */
export function advance(view: RunView, event: RunEvent): RunView {
  switch (event.event) {
    case 'run':
      return onRun(view, event)
    case 'member':
      return onMember(view, event)
    case 'step':
      return onStep(view, event)
    case 'straggler':
    case 'straggler-gone':
      return onStraggler(view, event)
    case 'held-up':
      return { ...view, heldUp: textField(event, 'reason') }
    case 'eval':
      return onEval(view, event)
    case 'generation':
      return onGeneration(view, event)
    case 'start':
      return { ...view, note: 'all workers hold the same parameters; evaluating and making the first step' }
    case 'shares':
      return { ...view, note: sharesNote(event) }
    case 'checkpoint':
      return { ...view, checkpoint: textField(event, 'path') ?? view.checkpoint }
    case 'checkpoint-failed':
      return {
        ...view,
        note: `the checkpoint after step ${numberField(event, 'step') ?? '?'} failed: ${textField(event, 'what') ?? '?'}`,
      }
    case 'checkpoint-skipped':
      return {
        ...view,
        note: `the checkpoint ${textField(event, 'path') ?? '?'} is passed over: ${textField(event, 'reason') ?? 'no reason given'}`,
      }
    case 'mirror-late':
      return {
        ...view,
        note: `step ${numberField(event, 'step') ?? '?'} could not be mirrored: ${textField(event, 'reason') ?? 'no reason given'}`,
      }
    case 'stopping':
      return {
        ...view,
        phase: 'stopping',
        note: `stopping after step ${numberField(event, 'afterStep') ?? view.step}, then a checkpoint`,
      }
    case 'done':
      return onDone(view, event)
    case 'error':
      return {
        ...view,
        phase: 'failed',
        note: 'the run failed',
        error: {
          code: textField(event, 'code') ?? 'SKEIN_UNKNOWN',
          message: textField(event, 'message') ?? 'the coordinator gave no message',
          todo: textField(event, 'todo') ?? '',
        },
      }
    default:
      return view
  }
}

/** The view with another sentence on what goes on, and perhaps another phase: for what the launcher itself knows. */
export function withNote(view: RunView, note: string, phase?: RunPhase): RunView {
  return { ...view, note, phase: phase ?? view.phase }
}

/** Tokens per second over the recent steps, or undefined before the first. */
export function tokensPerSecond(view: RunView): number | undefined {
  let tokens = 0
  let ms = 0
  for (const step of view.recent) {
    tokens += step.tokens
    ms += step.stepMs
  }
  return ms > 0 ? (tokens / ms) * 1000 : undefined
}

/** Estimated ms until the last step, by the recent steps; evaluations and checkpoints among them count. */
export function timeLeftMs(view: RunView): number | undefined {
  const first = view.recent[0]
  const last = view.recent.at(-1)
  if (view.totalSteps === undefined || first === undefined || last === undefined) return undefined
  if (view.phase === 'done' || view.phase === 'failed') return undefined
  const left = Math.max(0, view.totalSteps - view.step)
  const steps = last.step - first.step
  if (steps > 0 && first.elapsedMs !== undefined && last.elapsedMs !== undefined) {
    return (left * (last.elapsedMs - first.elapsedMs)) / steps
  }
  return (left * view.recent.reduce((sum, step) => sum + step.stepMs, 0)) / view.recent.length
}

function textField(event: RunEvent, field: string): string | undefined {
  const text = rawText(event, field)
  return text === undefined ? undefined : oneLine(text)
}

function onRun(view: RunView, event: RunEvent): RunView {
  const startStep = numberField(event, 'startStep') ?? view.startStep
  return {
    ...view,
    jobName: textField(event, 'name') ?? view.jobName,
    runDir: textField(event, 'runDir') ?? view.runDir,
    totalSteps: numberField(event, 'totalSteps') ?? view.totalSteps,
    startStep,
    step: Math.max(view.step, startStep),
    note: view.phase === 'starting' ? 'waiting for the workers to load their devices and join' : view.note,
  }
}

function onGeneration(view: RunView, event: RunEvent): RunView {
  const members = Array.isArray(event['members']) ? (event['members'] as readonly unknown[]) : []
  const ranks = new Map<unknown, number>()
  for (const member of members) {
    if (typeof member !== 'object' || member === null || !('workerId' in member) || !('rank' in member)) continue
    if (typeof member.rank === 'number') ranks.set(member.workerId, member.rank)
  }
  const parts = numberField(event, 'parts') ?? 1
  const workers = view.workers.map(worker => {
    const rank = ranks.get(worker.workerId) ?? worker.rank
    return { ...worker, rank, ...(parts === 1 || rank === undefined ? {} : { part: partOf(rank, parts) }) }
  })
  return {
    ...view,
    generation: numberField(event, 'generation') ?? view.generation,
    heldUp: undefined,
    workers: workers.toSorted(byRankThenName),
    note: view.phase === 'starting' ? 'all workers are here; building the model and reading the data' : view.note,
  }
}

function onMember(view: RunView, event: RunEvent): RunView {
  const workerId = textField(event, 'workerId')
  if (workerId === undefined) return view
  const known = view.workers.find(worker => worker.workerId === workerId)
  const device = recordField(event, 'device')
  const backend = device?.['backend']
  const worker: WorkerView = {
    workerId,
    rank: numberField(event, 'rank') ?? known?.rank,
    ...(known?.part === undefined ? {} : { part: known.part }),
    change: textField(event, 'change') ?? known?.change ?? 'known',
    reason: textField(event, 'reason'),
    backend: typeof backend === 'string' ? oneLine(backend) : (textField(event, 'backend') ?? known?.backend),
    computeMs: known?.computeMs,
    waitMs: known?.waitMs,
    rssBytes: known?.rssBytes,
    slowFactor: known?.slowFactor,
  }
  const others = view.workers.filter(other => other !== known)
  const workers = [...others, worker].toSorted(byRankThenName)
  return { ...view, workers, note: view.phase === 'starting' ? `${workerId} ${worker.change}` : view.note }
}

function onStep(view: RunView, event: RunEvent): RunView {
  const loss = numberField(event, 'loss')
  const step = numberField(event, 'step') ?? view.step
  const stepMs = numberField(event, 'stepMs')
  const tokens = numberField(event, 'tokens') ?? 0
  const elapsedMs = numberField(event, 'elapsedMs')
  const recent =
    stepMs === undefined || stepMs === 0
      ? view.recent
      : [...withoutFirst(view).slice(1 - recentSteps), { step, stepMs, tokens, elapsedMs }]
  return {
    ...view,
    ...(loss === undefined ? {} : withLoss(view, loss, step)),
    phase: view.phase === 'starting' ? 'training' : view.phase,
    note: view.phase === 'starting' ? 'training' : view.note,
    heldUp: undefined,
    step,
    tokens: view.tokens + tokens,
    bytesSent: view.bytesSent + (numberField(event, 'bytesSent') ?? 0),
    recent,
    stepMs: stepMs ?? view.stepMs,
    computeMs: numberField(event, 'computeMs') ?? view.computeMs,
    commMs: numberField(event, 'commMs') ?? view.commMs,
    digest: textField(event, 'digest') ?? view.digest,
    generation: numberField(event, 'generation') ?? view.generation,
    workers: withTimings(view.workers, event['members']),
  }
}

/** The recent steps; the run's first one, which compiles the passes, counts only while it is alone. */
function withoutFirst(view: RunView): readonly RecentStep[] {
  return view.recent[0]?.step === view.startStep + 1 ? view.recent.slice(1) : view.recent
}

/** Keeps every loss until there are too many, then every second, and so on: the memory of a run of any length is bounded. */
function withLoss(view: RunView, loss: number, step: number): Pick<RunView, 'loss' | 'losses' | 'lossStride'> {
  if ((step - 1) % view.lossStride !== 0) return { loss, losses: view.losses, lossStride: view.lossStride }
  const losses = [...view.losses, loss]
  if (losses.length <= maxLosses) return { loss, losses, lossStride: view.lossStride }
  return { loss, losses: losses.filter((_, i) => i % 2 === 0), lossStride: view.lossStride * 2 }
}

function withTimings(workers: readonly WorkerView[], members: unknown): readonly WorkerView[] {
  if (!Array.isArray(members)) return workers
  const byId = new Map<unknown, RunEvent>()
  for (const member of members as readonly unknown[]) {
    if (typeof member === 'object' && member !== null && 'workerId' in member) {
      byId.set(member.workerId, { event: 'member', ...member })
    }
  }
  return workers.map(worker => {
    const facts = byId.get(worker.workerId)
    if (facts === undefined) return worker
    return {
      ...worker,
      rank: numberField(facts, 'rank') ?? worker.rank,
      computeMs: numberField(facts, 'computeMs') ?? worker.computeMs,
      waitMs: numberField(facts, 'waitMs') ?? worker.waitMs,
      rssBytes: numberField(facts, 'rssBytes') ?? worker.rssBytes,
    }
  })
}

function onStraggler(view: RunView, event: RunEvent): RunView {
  const workerId = textField(event, 'workerId')
  const slowFactor = event.event === 'straggler' ? numberField(event, 'factor') : undefined
  const workers = view.workers.map(worker => (worker.workerId === workerId ? { ...worker, slowFactor } : worker))
  return { ...view, workers }
}

function onEval(view: RunView, event: RunEvent): RunView {
  const loss = numberField(event, 'loss')
  const step = numberField(event, 'step')
  if (loss === undefined) return view
  const untrained = textField(event, 'phase') === 'untrained'
  return {
    ...view,
    valLoss: loss,
    valStep: step,
    untrainedLoss: untrained ? loss : view.untrainedLoss,
  }
}

function onDone(view: RunView, event: RunEvent): RunView {
  return {
    ...view,
    phase: 'done',
    note: 'done',
    step: numberField(event, 'steps') ?? view.step,
    checkpoint: textField(event, 'checkpoint') ?? view.checkpoint,
    valLoss: numberField(event, 'valLoss') ?? view.valLoss,
    baselineLoss: numberField(event, 'baselineLoss') ?? view.baselineLoss,
    untrainedLoss: numberField(event, 'untrainedLoss') ?? view.untrainedLoss,
  }
}

function byRankThenName(a: WorkerView, b: WorkerView): number {
  const rank = (a.rank ?? Number.MAX_SAFE_INTEGER) - (b.rank ?? Number.MAX_SAFE_INTEGER)
  return rank === 0 ? a.workerId.localeCompare(b.workerId, 'en', { numeric: true }) : rank
}

/** "from step 23 on a step becomes 1.60 times as fast …" */
const sharesNote = (event: RunEvent): string =>
  `from step ${numberField(event, 'fromStep') ?? '?'} on ${textField(event, 'reason') ?? 'workers take other shares'}`
