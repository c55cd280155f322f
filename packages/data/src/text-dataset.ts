import { createHash } from 'node:crypto'
import { SkeinError } from '@skein/core'
import { bigramLoss, trainBigram } from './bigram.ts'
import { checkSampleNumber, type Dataset, type SplitName } from './dataset.ts'
import type { DocumentSet } from './documents.ts'
import { DataErrors } from './errors.ts'
import { packDocuments, samplesIn } from './pack.ts'
import { sampleOrder, valSampleOrder } from './sample-order.ts'
import { type SplitOptions, splitDocuments } from './split.ts'

export interface TextDatasetOptions extends SplitOptions {
  /** Tokens of one sample, T. */
  readonly context: number
  /** Seed of the order of the training samples. */
  readonly seed: number
  /** Samples of one step: there must be at least as many. */
  readonly globalBatch: number
}

/** Text as byte tokens. The streams are there for baselines and sampling; do not write to them. */
export interface TextDataset extends Dataset {
  readonly baseline: NonNullable<Dataset['baseline']>
  readonly context: number
  readonly trainStream: Uint8Array
  readonly valStream: Uint8Array
  /** First token in `valStream` of the held-out sample of this number. */
  valOffset(sampleNumber: number): number
}

/**
 * Packs documents into samples of `context` byte tokens: sample i of a stream has inputs [i·T, i·T+T) and targets one token on.
 *
 * @throws SKEIN_DATA_NO_SPLIT, SKEIN_DATA_TOO_SMALL
 */
export function textDataset(source: DocumentSet, options: TextDatasetOptions): TextDataset {
  const { context, seed, globalBatch } = options
  const split = splitDocuments(source.documents, options)
  const trainStream = packDocuments(split.train)
  const valStream = packDocuments(split.val)
  const numSamples = samplesIn(trainStream.length, context)
  const numValSamples = samplesIn(valStream.length, context)
  if (numSamples < globalBatch) throw tooSmallForBatch(trainStream.length, numSamples, split.train.length, options)
  if (numValSamples < 1) throw tooSmallToHoldOut(valStream.length, split.val.length, options)

  const order = sampleOrder(seed, numSamples)
  const valOrder = valSampleOrder(numValSamples)
  const valOffset = (sampleNumber: number) => valOrder.forward(sampleNumber) * context
  const settings = { tokens: 'bytes', packing: 1, order: 1, context }
  const fingerprint = createHash('sha256')
    .update(`${JSON.stringify(settings)} ${trainStream.length} ${valStream.length}\n`)
    .update(trainStream)
    .update(valStream)
    .digest('hex')

  const heldOut = { context, valStream, valOffset }
  return {
    fingerprint,
    numSamples,
    numValSamples,
    tokensPerSample: context,
    context,
    trainStream,
    valStream,
    valOffset,
    baseline: valSamples => ({ name: 'byte bigram', loss: bigramLoss(trainBigram(trainStream), heldOut, valSamples) }),
    batch(splitName, sampleNumbers) {
      const stream = splitName === 'train' ? trainStream : valStream
      const inputs = new Int32Array(sampleNumbers.length * context)
      const targets = new Int32Array(sampleNumbers.length * context)
      for (const [row, sampleNumber] of sampleNumbers.entries()) {
        checkSampleNumber(splitName, sampleNumber, numValSamples)
        const from = offsetOf(splitName, sampleNumber)
        inputs.set(stream.subarray(from, from + context), row * context)
        targets.set(stream.subarray(from + 1, from + 1 + context), row * context)
      }
      const shape = [sampleNumbers.length, context]
      return {
        samples: sampleNumbers.length,
        arrays: { inputs: { data: inputs, shape }, targets: { data: targets, shape } },
      }
    },
    describe: () => ({
      kind: 'text',
      summary: summaryOf(source, split.train.length, split.val.length, trainStream.length, valStream.length),
      numSamples,
      numValSamples,
      details: {
        trainDocuments: split.train.length,
        valDocuments: split.val.length,
        trainBytes: trainStream.length,
        valBytes: valStream.length,
        skippedBinary: source.skippedBinary,
        skippedEmpty: source.skippedEmpty,
        pieces: split.pieces,
        context,
      },
    }),
  }

  function offsetOf(splitName: SplitName, sampleNumber: number): number {
    return splitName === 'train' ? order.placeOf(sampleNumber).index * context : valOffset(sampleNumber)
  }
}

function summaryOf(source: DocumentSet, train: number, val: number, trainBytes: number, valBytes: number): string {
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(2)} MB`
  const skipped = source.skippedBinary === 0 ? '' : `, ${source.skippedBinary} binary files skipped`
  return `${train} training documents (${megabytes(trainBytes)}), ${val} held out (${megabytes(valBytes)})${skipped}`
}

function tooSmallForBatch(bytes: number, numSamples: number, documents: number, options: TextDatasetOptions) {
  const { context, globalBatch } = options
  return new SkeinError(DataErrors.TOO_SMALL, {
    what: `the training text holds ${numSamples} samples of ${context} tokens (${bytes} B in ${documents} documents), but one step takes batch.global = ${globalBatch}`,
    why: `a byte is a token, so one step takes ${globalBatch * context + 1} B of training text`,
    todo: 'give more text, or lower batch.global or the model context',
    details: { numSamples, globalBatch, context, bytes },
  })
}

function tooSmallToHoldOut(bytes: number, documents: number, options: TextDatasetOptions) {
  const { context, heldOut } = options
  return new SkeinError(DataErrors.TOO_SMALL, {
    what: `the held-out text has ${bytes} B in ${documents} documents, but one sample takes ${context + 1} B`,
    why: `heldOut is ${heldOut}, and the documents it chose are short`,
    todo: 'raise heldOut in the data of the job, give longer documents, or lower the model context',
    details: { bytes, context, heldOut },
  })
}
