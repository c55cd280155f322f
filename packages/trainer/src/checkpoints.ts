import {
  CheckpointWriter,
  type NamedTensor,
  openCheckpoint,
  type PartsToPublish,
  type SavedCheckpoint,
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

/**
 * How the checkpoint of a model that is cut comes about: each rank of the first replica writes the tensors that are its own; when all have, rank 0
 * publishes them as one.
 */
export interface PartSaving {
  readonly part: number
  readonly parts: number
  /** Whether this part writes the tensor: of those that hold it, or the same rows of it, one does. */
  owns(tensor: string): boolean
  /** To be told when this part of `step` is on disk. */
  partSaved(step: number): void
  /** For part 0: whether all parts of `step` are on disk; false also where the generation is over before that is known. */
  allPartsSaved(step: number): Promise<boolean>
}

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
  /** Of the present generation; undefined: this worker holds the whole model. */
  readonly partSaving?: () => PartSaving | undefined
  /** `generation`: in which the state was copied; it may be over by now. */
  readonly onSaved: (step: number, generation: number, saved: SavedCheckpoint) => void
  readonly onFailed: (step: number, generation: number, error: SkeinError) => void
}

/** The tensors of a flat buffer by name; views, not copies. */
export function namedTensors(layout: FlatLayout, flat: Float32Array): NamedTensor[] {
  return layout.tensors.map(({ name, shape, rows, offset, elems }) => ({
    name,
    shape,
    data: flat.subarray(offset, offset + elems),
    ...(rows === undefined ? {} : { rows }),
  }))
}

/** One is copied to while the other is written. */
const numSnapshots = 2

/**
 * Saves the current slot without holding the training up: its three buffers are copied (12 B a parameter) into one of two snapshots, which are made at
 * the first save and kept; a thread of its own hashes, writes and syncs them. A third `save` waits for the first. A write that fails is told
 * to `onFailed`. A step that is saved already is not saved again; a part of one is, in another generation, as then every other part is.
 */
export function checkpointSink(options: CheckpointSinkOptions): CheckpointSink & AsyncDisposable {
  const { state, simd, root, keep, shardBytes, environment } = options
  const { totalElems, tensors } = state.layout
  const writer = new CheckpointWriter({ root, keep, shardBytes, environment })
  const snapshots: { readonly buffer: SharedArrayBuffer; free: Promise<void> }[] = []
  const publishing = new Set<Promise<void>>()
  let next = 0
  /** `generation`: undefined where it is the whole model, which is as good in the next one. */
  let last: { readonly step: number; readonly generation: number | undefined } | undefined
  const publish = async (saving: PartSaving, parts: PartsToPublish) => {
    const { step, generation } = parts
    if (await saving.allPartsSaved(step)) options.onSaved(step, generation, await writer.publish(parts))
    else await writer.discard(parts)
  }
  return {
    async save(step) {
      const saving = options.partSaving?.()
      const { generation } = options.facts
      const asked = { step, generation: saving === undefined ? undefined : generation }
      if (step === last?.step && asked.generation === last.generation) return
      last = asked
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
      const own = saving === undefined ? tensors : tensors.filter(({ name }) => saving.owns(name))
      const snapshot: Snapshot = {
        buffer: place.buffer,
        totalElems,
        tensors: own.map(({ name, shape, offset, elems, rows }) => {
          return { name, shape, offset, elems, ...(rows === undefined ? {} : { rows }) }
        }),
        facts: {
          ...options.facts,
          generation,
          step,
          samplesSeen: step * options.globalBatch,
          digest: formatHash(simd.hash(params.byteOffset, params.bytes)),
        },
      }
      const failed = (error: unknown) => {
        if (last === asked) last = undefined
        options.onFailed(step, generation, asSkeinError(error))
      }
      if (saving === undefined) {
        place.free = writer.save(snapshot).then(saved => options.onSaved(step, generation, saved), failed)
        return
      }
      const { part, parts } = saving
      place.free = writer.savePart(snapshot, { part, parts }).then(() => {
        saving.partSaved(step)
        if (part !== 0) return
        // The snapshot is free meanwhile.
        const published = publish(saving, { step, parts, generation })
          .catch(failed)
          .finally(() => publishing.delete(published))
        publishing.add(published)
      }, failed)
    },
    async flush() {
      for (const { free } of snapshots) await free
      await Promise.all(publishing)
    },
    [Symbol.asyncDispose]: () => writer.close(),
  }
}

/**
 * Fills the current slot from a checkpoint, checked byte for byte, and returns its step: all tensors of the state's layout, or the rows of them that it
 * has, by their names, so that what one mesh has saved any other one reads.
 * @throws SKEIN_CHECKPOINT_* for a damaged one, SKEIN_TRAINER_CHECKPOINT_DIGEST when the parameters are not what it says
 */
export async function loadCheckpoint(
  given: string,
  state: TrainingState,
  simd: Simd,
  environment: StoreEnvironment,
  isWhole = true,
): Promise<{ readonly step: number }> {
  await using checkpoint = await openCheckpoint(given, { environment })
  const slot = state.current()
  const tensorsAt = (byteOffset: number) =>
    namedTensors(state.layout, new Float32Array(state.sharedBuffer, byteOffset, state.layout.totalElems))
  await checkpoint.readParametersInto(tensorsAt(slot.params.byteOffset))
  await checkpoint.readMomentsInto(tensorsAt(slot.expAvg.byteOffset), tensorsAt(slot.expAvgSq.byteOffset))
  const digest = formatHash(simd.hash(slot.params.byteOffset, slot.params.bytes))
  const { manifest } = checkpoint
  // A part, or a model that was cut when it was saved, has another digest; the files have been checked.
  const isComparable = isWhole && (manifest.parts ?? 1) === 1
  if (isComparable && digest !== manifest.digest) {
    throw new SkeinError(TrainerErrors.CHECKPOINT_DIGEST, {
      what: `the parameters of ${checkpoint.path} digest to ${digest}, the commit record of step ${manifest.step} says ${manifest.digest}`,
      why: 'the files are whole but were not written by this run, or another layout of the model',
      todo: 'use another checkpoint',
      details: { digest, expected: manifest.digest },
    })
  }
  return { step: manifest.step }
}
