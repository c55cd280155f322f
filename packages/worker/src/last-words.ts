import { type Dataset, decodeTokens } from '@skein/data'
import type { ResolvedJob } from '@skein/job'
import { generate, type Gpt2 } from '@skein/model'
import { evaluationSamples } from '@skein/trainer'

const sampleTokens = 96

/**
 * What rank 0 adds to its last report: a baseline on the same held-out samples, and, where it has the whole model, a text that this makes up.
 */
export function lastWords(
  job: ResolvedJob,
  dataset: Dataset,
  gpt2: Gpt2 | undefined,
  params: Float32Array,
): { readonly baselineLoss?: number; readonly sampleText?: string } {
  const held = evaluationSamples(job.eval.samples, dataset.numValSamples, job.batch.micro)
  const baseline = dataset.baseline?.(held)
  const prompt = Array.from(dataset.batch('val', [0]).arrays['inputs']?.data.subarray(0, 32) ?? [])
  return {
    ...(baseline === undefined ? {} : { baselineLoss: baseline.loss }),
    ...(gpt2 === undefined
      ? {}
      : {
          sampleText: decodeTokens([
            ...prompt,
            ...generate(gpt2, params, prompt, { tokens: sampleTokens, seed: job.seed }),
          ]),
        }),
  }
}
