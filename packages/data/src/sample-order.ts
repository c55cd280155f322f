import { keyedPermutation, type Permutation } from './permutation.ts'

/** Where a global sample number lies: its pass over the data, and the sample of the data it stands for. */
export interface SamplePlace {
  readonly epoch: number
  readonly index: number
}

/** Global sample numbers 0, 1, 2, … to samples of the data and back. */
export interface SampleOrder {
  readonly numSamples: number
  placeOf(sampleNumber: number): SamplePlace
  numberOf(place: SamplePlace): number
}

/**
 * The order of the run: pass e over the data visits sample π(seed, e)(p) at position p, and pass follows pass without a gap.
 * A pure function of (seed, numSamples, sample number): which worker trains a sample, and after how many restarts, does not
 * enter it.
 */
export function sampleOrder(seed: number, numSamples: number): SampleOrder {
  let cachedEpoch = -1
  let cached: Permutation | undefined
  const permutationOf = (epoch: number) => {
    if (cached === undefined || epoch !== cachedEpoch) {
      cached = keyedPermutation(numSamples, seed, epoch)
      cachedEpoch = epoch
    }
    return cached
  }
  return {
    numSamples,
    placeOf(sampleNumber) {
      const epoch = Math.floor(sampleNumber / numSamples)
      return { epoch, index: permutationOf(epoch).forward(sampleNumber % numSamples) }
    },
    numberOf: ({ epoch, index }) => epoch * numSamples + permutationOf(epoch).inverse(index),
  }
}

/** Names the order of held-out samples; no run's seed enters it. */
const valOrderKey = 0x76616c

/** The order of held-out samples: shuffled, so that the first few are a fair sample of all, and the same in every run. */
export function valSampleOrder(numValSamples: number): Permutation {
  return keyedPermutation(numValSamples, valOrderKey)
}
