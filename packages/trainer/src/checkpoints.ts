import { type CheckpointContents, type NamedTensor, openCheckpoint, saveCheckpoint } from '@skein/checkpoint'
import { SkeinError } from '@skein/core'
import type { FlatLayout } from '@skein/model'
import { formatHash, type Simd } from '@skein/simd'
import { TrainerErrors } from './errors.ts'
import type { CheckpointSink } from './train-loop.ts'
import type { TrainingState } from './training-state.ts'

/** What a checkpoint says beside its tensors, the same for all of one run. */
export type CheckpointFacts = Pick<
  CheckpointContents,
  'seed' | 'generation' | 'dataFingerprint' | 'job' | 'model' | 'createdBy'
>

export interface CheckpointSinkOptions {
  readonly state: TrainingState
  readonly simd: Simd
  /** Folder that gets `step-…` folders and LATEST. */
  readonly root: string
  /** Checkpoints to keep; 0 keeps all. */
  readonly keep: number
  /** Samples of one step, for the place in the data. */
  readonly globalBatch: number
  readonly facts: CheckpointFacts
  readonly onSaved: (step: number, path: string) => void
  readonly signal?: AbortSignal
}

/** The tensors of a flat buffer by name; views, not copies. */
export function namedTensors(layout: FlatLayout, flat: Float32Array): NamedTensor[] {
  return layout.tensors.map(tensor => ({
    name: tensor.name,
    shape: tensor.shape,
    data: flat.subarray(tensor.offset, tensor.offset + tensor.elems),
  }))
}

/**
 * Writes the current slot to disk without holding the training up: a copy of the three buffers is taken at once (12 B a
 * parameter), the files are written behind it. One write at a time; a second `save` waits for the first.
 */
export function checkpointSink(options: CheckpointSinkOptions): CheckpointSink {
  const { state, simd } = options
  const { totalElems } = state.layout
  let writing: Promise<void> = Promise.resolve()
  let lastStep: number | undefined
  return {
    async save(step) {
      if (step === lastStep) return
      await writing
      lastStep = step
      const slot = state.current()
      const copy = (byteOffset: number) => new Float32Array(state.sharedBuffer, byteOffset, totalElems).slice()
      const { hi, lo } = simd.hash(slot.params.byteOffset, slot.params.bytes)
      const contents: CheckpointContents = {
        ...options.facts,
        step,
        samplesSeen: step * options.globalBatch,
        digest: formatHash({ hi, lo }),
        parameters: namedTensors(state.layout, copy(slot.params.byteOffset)),
        expAvg: namedTensors(state.layout, copy(slot.expAvg.byteOffset)),
        expAvgSq: namedTensors(state.layout, copy(slot.expAvgSq.byteOffset)),
      }
      writing = saveCheckpoint(options.root, contents, {
        keep: options.keep,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      }).then(saved => options.onSaved(step, saved.path))
      // Awaited by the next save or by flush; until then a failure must not count as unhandled.
      writing.catch(() => undefined)
    },
    flush: () => writing,
  }
}

/**
 * Fills the current slot from a checkpoint, checked byte for byte, and returns its step.
 * @throws SKEIN_CHECKPOINT_* for a damaged one, SKEIN_TRAINER_CHECKPOINT_DIGEST when the parameters are not what it says
 */
export async function loadCheckpoint(
  given: string,
  state: TrainingState,
  simd: Simd,
): Promise<{ readonly step: number }> {
  const checkpoint = await openCheckpoint(given)
  const slot = state.current()
  const tensorsAt = (byteOffset: number) =>
    namedTensors(state.layout, new Float32Array(state.sharedBuffer, byteOffset, state.layout.totalElems))
  await checkpoint.readParametersInto(tensorsAt(slot.params.byteOffset))
  await checkpoint.readMomentsInto(tensorsAt(slot.expAvg.byteOffset), tensorsAt(slot.expAvgSq.byteOffset))
  const digest = formatHash(simd.hash(slot.params.byteOffset, slot.params.bytes))
  const { manifest } = checkpoint
  if (digest !== manifest.digest) {
    throw new SkeinError(TrainerErrors.CHECKPOINT_DIGEST, {
      what: `the parameters of ${checkpoint.path} digest to ${digest}, the commit record of step ${manifest.step} says ${manifest.digest}`,
      why: 'the files are whole but were not written by this run, or another layout of the model',
      todo: 'use another checkpoint',
      details: { digest, expected: manifest.digest },
    })
  }
  return { step: manifest.step }
}
