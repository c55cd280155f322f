import { SkeinError } from '@skein/core'
import { DataErrors } from './errors.ts'

export type SplitName = 'train' | 'val'

/** A dense array of one batch or sample; `data` has as many elements as `shape` says, outermost dim first. */
export interface NamedArray {
  readonly data: Float32Array | Int32Array
  readonly shape: readonly number[]
}

/** Samples stacked along a new first dim. Owned by the caller: no two batches share memory. */
export interface Batch {
  /** Number of samples, the first dim of every array. */
  readonly samples: number
  /** Text has `inputs` and `targets`, both int32 [samples, context]. */
  readonly arrays: Readonly<Record<string, NamedArray>>
}

/** What a run says about its data. `summary` is one line for people. */
export interface DatasetFacts {
  readonly kind: 'text' | 'custom'
  readonly summary: string
  readonly numSamples: number
  readonly numValSamples: number
  readonly details: Readonly<Record<string, number | string>>
}

/** Training and held-out samples, the same on every worker. */
export interface Dataset {
  /** Hex SHA-256 of the data and of the settings that shape its samples; workers compare it before they start. */
  readonly fingerprint: string
  readonly numSamples: number
  readonly numValSamples: number
  /** Target tokens of one sample; 1 for data without tokens. */
  readonly tokensPerSample: number
  /**
   * The samples of these numbers, in this order. For 'train' they are global sample numbers (0, 1, 2, … over all epochs, put
   * into the order of the run's seed here); for 'val' 0 … numValSamples-1, in a shuffled order that never changes, so that the
   * first few of them are a fair sample of all. @throws SKEIN_DATA_SAMPLE_RANGE
   */
  batch(split: SplitName, sampleNumbers: readonly number[]): Batch
  describe(): DatasetFacts
  /** What a simple model reaches on the first `valSamples` held-out samples, the ones an evaluation uses; where there is one. */
  readonly baseline?: (valSamples: number) => Baseline
}

/** A loss to beat, in the unit of the model's loss. */
export interface Baseline {
  readonly name: string
  readonly loss: number
}

/** @throws SKEIN_DATA_SAMPLE_RANGE unless the number is a whole one that the split has. */
export function checkSampleNumber(split: SplitName, sampleNumber: number, numValSamples: number): void {
  if (Number.isSafeInteger(sampleNumber) && sampleNumber >= 0 && (split === 'train' || sampleNumber < numValSamples)) {
    return
  }
  throw new SkeinError(DataErrors.SAMPLE_RANGE, {
    what: `sample ${sampleNumber} of ${split} does not exist`,
    why: split === 'val' ? `there are ${numValSamples} held-out samples` : 'sample numbers are whole and not negative',
    todo: 'ask for numbers from 0; held-out ones end before numValSamples',
    details: { split, sampleNumber, numValSamples },
  })
}
