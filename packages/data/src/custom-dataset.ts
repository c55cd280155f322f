import { createHash } from 'node:crypto'
import { formatShape, numElements, SkeinError, sameShape } from '@skein/core'
import { type Batch, checkSampleNumber, type Dataset, type NamedArray, type SplitName } from './dataset.ts'
import { DataErrors } from './errors.ts'
import { sampleOrder, valSampleOrder } from './sample-order.ts'

/** A job's own data: samples by index, as named arrays. */
export interface CustomSamples {
  readonly numSamples: number
  readonly numValSamples: number
  /**
   * Sample `index` (0 … numSamples-1, or numValSamples-1 for 'val'), without a batch dim. Must be a pure function: every worker
   * asks for its own samples, and asks again after a restart. Names, shapes and kinds are the same for every sample.
   */
  sample(split: SplitName, index: number): Readonly<Record<string, NamedArray>>
  /** Names this data; change it when the data changes, so that workers with different data notice. */
  readonly fingerprint: string
}

/** What `customDataset` puts into a job: opened on each worker, not when the job file is read. */
export interface CustomData {
  readonly kind: 'custom'
  readonly open: () => CustomSamples | Promise<CustomSamples>
}

/** Data of one's own for `data` of a job: an object, or a function that makes it when a worker needs it. */
export function customDataset(samples: CustomSamples | (() => CustomSamples | Promise<CustomSamples>)): CustomData {
  return { kind: 'custom', open: typeof samples === 'function' ? samples : () => samples }
}

/** @throws SKEIN_DATA_TOO_SMALL, SKEIN_DATA_CUSTOM_SAMPLE (also from `batch`) */
export async function openCustomDataset(
  data: CustomData,
  options: { readonly seed: number; readonly globalBatch: number },
): Promise<Dataset> {
  const samples = await data.open()
  const { numSamples, numValSamples } = samples
  if (!(numSamples >= options.globalBatch) || !(numValSamples >= 1)) {
    throw new SkeinError(DataErrors.TOO_SMALL, {
      what: `the data has numSamples = ${numSamples} and numValSamples = ${numValSamples}, but one step takes batch.global = ${options.globalBatch}, and an evaluation at least 1`,
      todo: 'give more samples, or lower batch.global',
      details: { numSamples, numValSamples, globalBatch: options.globalBatch },
    })
  }
  const order = sampleOrder(options.seed, numSamples)
  const valOrder = valSampleOrder(numValSamples)
  const signature = JSON.stringify({ fingerprint: samples.fingerprint, numSamples, numValSamples, order: 1 })
  return {
    fingerprint: createHash('sha256').update(signature).digest('hex'),
    numSamples,
    numValSamples,
    tokensPerSample: 1,
    batch(split, sampleNumbers) {
      const rows = sampleNumbers.map(sampleNumber => {
        checkSampleNumber(split, sampleNumber, numValSamples)
        return samples.sample(
          split,
          split === 'train' ? order.placeOf(sampleNumber).index : valOrder.forward(sampleNumber),
        )
      })
      return stack(rows)
    },
    describe: () => ({
      kind: 'custom',
      summary: `${numSamples} training samples, ${numValSamples} held out (${samples.fingerprint})`,
      numSamples,
      numValSamples,
      details: { fingerprint: samples.fingerprint },
    }),
  }
}

/** Joins samples along a new first dim. */
function stack(rows: readonly Readonly<Record<string, NamedArray>>[]): Batch {
  const arrays: Record<string, NamedArray> = {}
  const first = rows[0] ?? {}
  for (const [name, { data, shape }] of Object.entries(first)) {
    const size = numElements(shape)
    const stacked =
      data instanceof Int32Array ? new Int32Array(size * rows.length) : new Float32Array(size * rows.length)
    for (const [row, arraysOfRow] of rows.entries()) {
      const array = arraysOfRow[name]
      if (array === undefined) throw badSample(`sample ${row} of the batch has no array \`${name}\``, name)
      if (!sameShape(array.shape, shape) || array.data.length !== size || array.data.constructor !== data.constructor) {
        throw badSample(
          `\`${name}\` of sample ${row} of the batch is ${array.data.constructor.name} of ${array.data.length} elements with shape ${formatShape(array.shape)}, that of sample 0 ${data.constructor.name} with shape ${formatShape(shape)} (${size} elements)`,
          name,
        )
      }
      stacked.set(array.data, row * size)
    }
    arrays[name] = { data: stacked, shape: [rows.length, ...shape] }
  }
  return { samples: rows.length, arrays }
}

function badSample(what: string, name: string): SkeinError {
  return new SkeinError(DataErrors.CUSTOM_SAMPLE, {
    what,
    why: 'samples are stacked into one array, so all must have the same names, kinds and shapes',
    todo: 'correct `sample` of the customDataset in the job file',
    details: { array: name },
  })
}
