import { seededRandom } from '@skein/core'
import type { Gpt2 } from './gpt2/gpt2-model.ts'

export interface GenerateOptions {
  /** New tokens to draw. */
  readonly tokens: number
  /** 0 takes the likeliest token; 1 draws from the model's own distribution. Default 0.8. */
  readonly temperature?: number
  /** Draws among the k likeliest only; 0: among all. Default 40. */
  readonly topK?: number
  readonly seed?: number
  /** Called with each token as it is drawn. */
  readonly onToken?: (token: number) => void
}

/** Continues `prompt` (at least one token); looks back on at most the model's context. Same seed, same tokens. */
export function generate(
  model: Gpt2,
  params: Float32Array,
  prompt: readonly number[],
  options: GenerateOptions,
): number[] {
  const { temperature = 0.8, topK = 40, seed = 1 } = options
  const { context, vocab } = model.config
  const random = seededRandom(seed, 0x67656e)
  const all = [...prompt]
  for (let i = 0; i < options.tokens; i++) {
    const window = all.slice(-context)
    const logits = model.logits(window, params).subarray((window.length - 1) * vocab)
    const token = drawToken(logits, temperature, topK, random.nextFloat())
    all.push(token)
    options.onToken?.(token)
  }
  return all.slice(prompt.length)
}

/** A token of softmax(logits / temperature) among the `topK` likeliest, where `uniform` in [0, 1) decides. */
export function drawToken(logits: Float32Array, temperature: number, topK: number, uniform: number): number {
  const ranked = Array.from(logits.keys()).sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b)
  const best = ranked[0] as number
  if (temperature === 0) return best
  const candidates = topK > 0 ? ranked.slice(0, topK) : ranked
  const weights = candidates.map(token =>
    Math.exp(((logits[token] as number) - (logits[best] as number)) / temperature),
  )
  let left = uniform * weights.reduce((sum, weight) => sum + weight, 0)
  for (const [i, weight] of weights.entries()) {
    left -= weight
    if (left < 0) return candidates[i] as number
  }
  return candidates.at(-1) as number
}

/** Natural log-probability of each token after the first, given all before it (at most the context). Length tokens.length - 1. */
export function score(model: Gpt2, params: Float32Array, tokens: readonly number[]): number[] {
  const { context, vocab } = model.config
  const logprobs: number[] = []
  // Windows overlap by half, so that every token but the first few has at least half a context before it.
  for (let done = 1; done < tokens.length; ) {
    const start = Math.max(0, done - Math.ceil(context / 2))
    const window = tokens.slice(start, start + context)
    const logits = model.logits(window, params)
    for (; done < tokens.length && done - start <= window.length; done++) {
      const row = logits.subarray((done - 1 - start) * vocab, (done - start) * vocab)
      logprobs.push(logProbability(row, tokens[done] as number))
    }
  }
  return logprobs
}

function logProbability(logits: Float32Array, token: number): number {
  let max = Number.NEGATIVE_INFINITY
  for (const value of logits) if (value > max) max = value
  let sum = 0
  for (const value of logits) sum += Math.exp(value - max)
  return (logits[token] as number) - max - Math.log(sum)
}
