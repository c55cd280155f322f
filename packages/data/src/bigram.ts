import { byteVocabSize } from './byte-tokenizer.ts'

/** A byte bigram model: the simplest thing that a trained model must beat. */
export interface Bigram {
  /** Weight of the unigram distribution, in counts. */
  readonly smoothing: number
  /** Natural logarithm of p(next | previous), float64 [256·256], row = previous. */
  readonly logProbs: Float64Array
}

/** Tried for the smoothing weight; the optimum is flat, so powers of two do. */
const smoothingCandidates = Array.from({ length: 16 }, (_, i) => 2 ** (i - 3))

/**
 * p(b|a) = (c(a,b) + k·p₁(b)) / (c(a) + k): bigram counts interpolated with the add-one unigram p₁ (Dirichlet smoothing).
 * k is the candidate with the best leave-one-out likelihood of the training stream itself, so held-out text has no say in it.
 *
 * @see MacKay & Peto 1995, "A hierarchical Dirichlet language model"; leave-one-out as in Ney, Essen & Kneser 1995
 */
export function trainBigram(stream: Uint8Array): Bigram {
  const pairs = new Uint32Array(byteVocabSize * byteVocabSize)
  let previous = stream[0] ?? 0
  for (let i = 1; i < stream.length; i++) {
    const next = stream[i] as number
    const pair = (previous << 8) | next
    pairs[pair] = (pairs[pair] as number) + 1
    previous = next
  }
  const unigram = new Float64Array(byteVocabSize)
  const rowTotals = new Float64Array(byteVocabSize)
  for (let pair = 0; pair < pairs.length; pair++) {
    const count = pairs[pair] as number
    unigram[pair & 255] = (unigram[pair & 255] as number) + count
    rowTotals[pair >> 8] = (rowTotals[pair >> 8] as number) + count
  }
  const total = Math.max(0, stream.length - 1) + byteVocabSize
  for (let b = 0; b < byteVocabSize; b++) unigram[b] = ((unigram[b] as number) + 1) / total

  const leaveOneOut = (k: number) => {
    let logLikelihood = 0
    for (let pair = 0; pair < pairs.length; pair++) {
      const count = pairs[pair] as number
      if (count === 0) continue
      const p = (count - 1 + k * (unigram[pair & 255] as number)) / ((rowTotals[pair >> 8] as number) - 1 + k)
      logLikelihood += count * Math.log(p)
    }
    return logLikelihood
  }
  let smoothing = smoothingCandidates[0] as number
  let best = Number.NEGATIVE_INFINITY
  for (const k of smoothingCandidates) {
    const logLikelihood = leaveOneOut(k)
    if (logLikelihood > best) {
      best = logLikelihood
      smoothing = k
    }
  }

  const logProbs = new Float64Array(pairs.length)
  for (let pair = 0; pair < pairs.length; pair++) {
    const p =
      ((pairs[pair] as number) + smoothing * (unigram[pair & 255] as number)) /
      ((rowTotals[pair >> 8] as number) + smoothing)
    logProbs[pair] = Math.log(p)
  }
  return { smoothing, logProbs }
}

/** Where held-out samples lie; a TextDataset has this form. */
export interface HeldOutText {
  readonly context: number
  readonly valStream: Uint8Array
  valOffset(sampleNumber: number): number
}

/** Mean loss in nats a token over the first `valSamples` held-out samples: exactly the targets an evaluation of them sees. */
export function bigramLoss(bigram: Bigram, dataset: HeldOutText, valSamples: number): number {
  const { context, valStream } = dataset
  let sum = 0
  for (let sampleNumber = 0; sampleNumber < valSamples; sampleNumber++) {
    const from = dataset.valOffset(sampleNumber)
    for (let i = from; i < from + context; i++) {
      sum -= bigram.logProbs[((valStream[i] as number) << 8) | (valStream[i + 1] as number)] as number
    }
  }
  return sum / (valSamples * context)
}
