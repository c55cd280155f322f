import {
  CheckpointWriter,
  type NamedTensor,
  openCheckpoint,
  type Snapshot,
  snapshotBytes,
  type StoreEnvironment,
} from '@skein/checkpoint'
import { asSkeinError, SkeinError } from '@skein/core'
import type { FlatLayout } from '@skein/model'
import { formatHash, type Simd } from '@skein/simd'
import { TrainerErrors } from './errors.ts'
import type { CheckpointSink } from './train-loop.ts'
import type { TrainingState } from './training-state.ts'

/** What a checkpoint says beside its tensors, the same for all of one run. */
export type CheckpointFacts = Pick<
  Snapshot['facts'],
  'seed' | 'generation' | 'dataFingerprint' | 'job' | 'model' | 'createdBy'
>

export interface CheckpointSinkOptions {
  readonly state: TrainingState
  readonly simd: Simd
  /** Folder, or `s3://…`, that gets `step-…`. */
  readonly root: string
  /** Checkpoints to keep; 0 keeps all. */
  readonly keep: number
  /** Largest file. */
  readonly shardBytes: number
  /** Needed for S3. */
  readonly environment: StoreEnvironment
  /** Samples of one step, for the place in the data. */
  readonly globalBatch: number
  readonly facts: CheckpointFacts
  readonly onSaved: (step: number, path: string) => void
  readonly onFailed: (step: number, error: SkeinError) => void
}

/** The tensors of a flat buffer by name; views, not copies. */
export function namedTensors(layout: FlatLayout, flat: Float32Array): NamedTensor[] {
  return layout.tensors.map(tensor => ({
    name: tensor.name,
    shape: tensor.shape,
    data: flat.subarray(tensor.offset, tensor.offset + tensor.elems),
  }))
}

/** One is copied to while the other is written. */
const numSnapshots = 2

/**
 * Saves the current slot without holding the training up: its three buffers are copied (12 B a parameter) into one of two snapshots, which are made at
 * the first save and kept; a thread of its own hashes, writes and syncs them. A third `save` waits for the first. A write that fails is told
 * to `onFailed`, and the same step may be saved again.
 */
export function checkpointSink(options: CheckpointSinkOptions): CheckpointSink & AsyncDisposable {
  const { state, simd, root, keep, shardBytes, environment } = options
  const { totalElems, tensors } = state.layout
  const writer = new CheckpointWriter({ root, keep, shardBytes, environment })
  const snapshots: { readonly buffer: SharedArrayBuffer; free: Promise<void> }[] = []
  let next = 0
  let lastStep: number | undefined
  return {
    async save(step) {
      if (step === lastStep) return
      lastStep = step
      const place = (snapshots[next] ??= {
        buffer: new SharedArrayBuffer(snapshotBytes(totalElems)),
        free: Promise.resolve(),
      })
      next = (next + 1) % numSnapshots
      await place.free
      const { params, expAvg, expAvgSq } = state.current()
      for (const [i, { byteOffset }] of [params, expAvg, expAvgSq].entries()) {
        const part = new Float32Array(state.sharedBuffer, byteOffset, totalElems)
        new Float32Array(place.buffer, i * part.byteLength, totalElems).set(part)
      }
      const snapshot: Snapshot = {
        buffer: place.buffer,
        totalElems,
        tensors: tensors.map(({ name, shape, offset, elems }) => ({ name, shape, offset, elems })),
        facts: {
          ...options.facts,
          step,
          samplesSeen: step * options.globalBatch,
          digest: formatHash(simd.hash(params.byteOffset, params.bytes)),
        },
      }
      place.free = writer.save(snapshot).then(
        saved => options.onSaved(step, saved.path),
        (error: unknown) => {
          if (lastStep === step) lastStep = undefined
          options.onFailed(step, asSkeinError(error))
        },
      )
    },
    async flush() {
      for (const { free } of snapshots) await free
    },
    [Symbol.asyncDispose]: () => writer.close(),
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
  environment: StoreEnvironment,
): Promise<{ readonly step: number }> {
  await using checkpoint = await openCheckpoint(given, { environment })
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
