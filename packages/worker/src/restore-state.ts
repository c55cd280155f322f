import type { StoreEnvironment } from '@skein/checkpoint'
import { SkeinError } from '@skein/core'
import type { TrainableModel } from '@skein/model'
import type { Simd } from '@skein/simd'
import { loadCheckpoint, type TrainingState } from '@skein/trainer'
import { WorkerErrors } from './errors.ts'
import type { GenerationClient, GenerationMessage } from './generation-client.ts'

/**
 * Brings this rank to the state after the generation's `startStep`, together with the others: from the job's seed, from a checkpoint, or from
 * those who hold it. Whoever holds it already only undoes a step that was not committed. Where the model is cut, each has its part of it.
 */
export async function restoreState(parts: {
  readonly message: GenerationMessage
  readonly peers: GenerationClient
  /** Settles when the lanes are open. */
  readonly connected: Promise<void>
  readonly model: Pick<TrainableModel, 'initialise' | 'initialIsRandom'>
  readonly state: TrainingState
  readonly simd: Simd
  readonly seed: number
  /** Needed for a checkpoint on S3. */
  readonly environment: StoreEnvironment
}): Promise<void> {
  const { message, peers, connected, model, state, simd, seed, environment } = parts
  const { origin, startStep } = message
  const { rank } = peers
  const isWhole = message.parts === 1
  let root: number | undefined
  switch (origin.kind) {
    case 'initial':
      // Same seed, same bits on every machine; a user's own model draws its first weights itself, so rank 0's are taken.
      state.clear()
      model.initialise(state.params(), seed)
      root = isWhole && model.initialIsRandom ? 0 : undefined
      break
    case 'checkpoint':
      state.forget()
      if (!isWhole || rank === 0) await loadCheckpoint(origin.path, state, simd, environment, isWhole)
      root = isWhole ? 0 : undefined
      break
    case 'members':
      if (origin.ranks.includes(rank) && state.goBackTo(startStep)) break
      await peers.restore(startStep)
      if (!state.goBackTo(startStep)) throw notHeld(startStep, state.step())
      break
  }
  await connected
  if (root !== undefined) {
    const slot = state.current()
    for (const region of [slot.params, slot.expAvg, slot.expAvgSq]) await peers.broadcast(region, root)
  }
  state.filled(startStep)
}

const notHeld = (startStep: number, step: number | undefined): SkeinError =>
  new SkeinError(WorkerErrors.STATE_NOT_HELD, {
    what: `the coordinator goes on from step ${startStep}, which this worker should hold; it holds ${step ?? 'none'}`,
    why: 'a defect: what the worker told of its state was not what it had',
    todo: 'start this worker again; it gets the state from the others',
    details: { startStep, step },
  })
