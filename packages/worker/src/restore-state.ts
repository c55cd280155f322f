import type { StoreEnvironment } from '@skein/checkpoint'
import { SkeinError } from '@skein/core'
import type { TrainableModel } from '@skein/model'
import type { Simd } from '@skein/simd'
import { loadCheckpoint, type TrainingState } from '@skein/trainer'
import { WorkerErrors } from './errors.ts'
import type { GenerationClient, GenerationMessage } from './generation-client.ts'
import type { OwnCopies } from './own-copies.ts'

/**
 * Brings this rank to the state after the generation's `startStep`, together with the others: from the job's seed, from a checkpoint, or from
 * those who hold it. Whoever holds it already only undoes a step that was not committed, or goes back to its copy of a mirrored one. Where the model is cut, each has its part of it.
 */
export async function restoreState(parts: {
  readonly message: GenerationMessage
  readonly peers: GenerationClient
  /** Settles when the lanes are open. */
  readonly connected: Promise<void>
  readonly model: Pick<TrainableModel, 'initialise' | 'initialIsRandom'>
  /** The group of those that hold the same parameters, where there are several. */
  readonly copies: number | undefined
  readonly state: TrainingState
  /** What is kept of mirrored steps. */
  readonly ownCopies: OwnCopies
  readonly simd: Simd
  readonly seed: number
  /** Needed for a checkpoint on S3. */
  readonly environment: StoreEnvironment
}): Promise<void> {
  const { message, peers, connected, model, copies, state, ownCopies, simd, seed, environment } = parts
  const { origin, startStep } = message
  const { rank } = peers
  const isWhole = message.parts === 1
  /** What others have to send, the first of the group to all of it. */
  let group: number | undefined
  switch (origin.kind) {
    case 'initial':
      // Same seed, same bits on every machine; a user's own model draws its first weights itself, so those of one are taken.
      state.clear()
      model.initialise(state.params(), seed)
      if (model.initialIsRandom) group = copies
      break
    case 'checkpoint':
      state.forget()
      if (!isWhole || rank === 0) await loadCheckpoint(origin.path, state, simd, environment, isWhole)
      if (isWhole) group = copies
      break
    case 'members':
      if (origin.ranks.includes(rank) && (state.goBackTo(startStep) || ownCopies.goBackTo(startStep))) break
      await peers.restore(startStep)
      if (!state.goBackTo(startStep)) throw notHeld(startStep, state.step())
      break
  }
  await connected
  if (group !== undefined) {
    const { params, expAvg, expAvgSq } = state.current()
    for (const { byteOffset, bytes } of [params, expAvg, expAvgSq]) {
      await peers.groups.get(group)?.broadcast({ byteOffset, elems: bytes / 4, dtype: 'float32' }, 0)
    }
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
