import type { UpdateHistory } from '@skein/catchup'
import type { Clock } from '@skein/core'
import type { Dataset } from '@skein/data'
import type { ResolvedJob } from '@skein/job'
import { lrAt } from '@skein/job'
import type { Simd } from '@skein/simd'
import type { Peers } from './peers.ts'
import { runStep, type StepResult } from './run-step.ts'
import type { Strategy } from './strategy.ts'
import type { TrainingState } from './training-state.ts'

/** Takes committed states to disk; each rank of the first replica has one. */
export interface CheckpointSink {
  /** Copies the current state, to be written behind the training; waits only where two copies are still being written. */
  save(step: number): Promise<void>
  /** Settles when all that was saved is on disk, or is known to have failed. A failure is told by the sink, and ends nothing. */
  flush(): Promise<void>
}

/** Keeps committed states in the memory of several workers. */
export interface MirrorSink {
  /** Steps between two: at these nothing is written over the state before its commit is known. */
  readonly every: number
  /** Whether the coordinator has asked for this committed step. */
  isDue(step: number): boolean
  /** Copies the current state, which neighbours then get beside the training. */
  take(step: number): void
}

export interface TrainContext {
  readonly job: ResolvedJob
  readonly strategy: Strategy
  readonly dataset: Dataset
  readonly state: TrainingState
  readonly simd: Simd
  readonly peers: Peers
  readonly clock: Clock
  /** The last step already made; 0 for a new run. */
  readonly startStep: number
  readonly checkpoints?: CheckpointSink
  readonly mirror?: MirrorSink
  /** Where updates are recorded for those who catch up, while there are any. */
  readonly history?: () => UpdateHistory | undefined
  /** Called after each step on this rank, before its commit is known. */
  readonly onStep?: (result: StepResult) => void
}

export interface TrainOutcome {
  /** Made and committed. */
  readonly lastStep: number
  /** The job's last step is made, the coordinator asked to stop before it, or the next generation goes on from here. */
  readonly end: 'finished' | 'stopped' | 'regrouped'
}

/**
 * Lets signals, timers and the messages of every thread in. Node hands on the messages of one port until there are none: a step that runs inside such a
 * message, and is answered while it runs, would keep all others waiting.
 */
const turnOfTheLoop = () => new Promise<void>(resolve => setImmediate(resolve))

/**
 * One worker's part in a generation, from `startStep` to the end of the run or of the generation: steps, votes, evaluations and
 * checkpoints. Throws what ended the generation where that came first; the state then holds the last commit and maybe one step more.
 *
 * A step is made while the former one's vote is under way; nothing is overwritten, evaluated or saved before the state it
 * came from is committed (decision 4 of the design).
 */
export async function trainLoop(context: TrainContext): Promise<TrainOutcome> {
  const { job, strategy, peers, startStep, checkpoints, mirror } = context
  const optimizer = job.optimizer
  const evaluation = async (step: number, phase: 'untrained' | 'during' | 'final') => {
    // Before the first step everybody waits for this one, and an untrained model is equally bad everywhere: a few samples do.
    const samples = phase === 'untrained' ? Math.min(job.eval.samples, 4 * job.batch.micro) : job.eval.samples
    const loss = await strategy.evaluate(samples)
    if (peers.rank === 0) peers.evaluated({ step, loss, phase })
  }

  if (startStep === 0) await evaluation(0, 'untrained')
  let lastStep = startStep
  const lastOfRun = () => Math.min(job.steps, peers.stopAfter() ?? job.steps)
  const lastWanted = () => Math.min(lastOfRun(), peers.regroupAfter()?.step ?? job.steps)
  if (mirror?.isDue(startStep)) mirror.take(startStep)
  for (let step = startStep + 1; step <= lastWanted(); step++) {
    const result = await runStep(
      { ...context, globalBatch: job.batch.global },
      {
        step,
        lr: lrAt(job, step),
        beta1: optimizer.betas[0],
        beta2: optimizer.betas[1],
        eps: optimizer.eps,
        weightDecay: optimizer.weightDecay,
        clipNorm: optimizer.clipNorm,
      },
      async () => {
        if (step - 1 > startStep) await peers.committed(step - 1)
      },
    )
    const { gradNorm: _, ...report } = result
    peers.vote(report)
    context.onStep?.(result)
    lastStep = step
    await turnOfTheLoop()
    const evaluates = job.eval.every > 0 && step % job.eval.every === 0
    const saves = job.checkpoint.every > 0 && step % job.checkpoint.every === 0
    const mayMirror = mirror !== undefined && step % mirror.every === 0
    if (!evaluates && !saves && !mayMirror) continue
    await peers.committed(step)
    if (step >= lastWanted()) break
    if (mirror?.isDue(step)) mirror.take(step)
    if (evaluates) await evaluation(step, 'during')
    if (saves) await checkpoints?.save(step)
  }
  if (lastStep > startStep) await peers.committed(lastStep)
  if (lastStep < lastOfRun()) {
    if (peers.regroupAfter()?.saves === true) {
      await checkpoints?.save(lastStep)
      await checkpoints?.flush()
    }
    return { lastStep, end: 'regrouped' }
  }
  await evaluation(lastStep, 'final')
  await checkpoints?.save(lastStep)
  await checkpoints?.flush()
  return { lastStep, end: lastStep < job.steps ? 'stopped' : 'finished' }
}
