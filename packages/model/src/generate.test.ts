import { createTensorFlowDevice, loadBinding } from '@skein/device'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { drawToken, generate, score } from './generate.ts'
import { Gpt2 } from './gpt2/gpt2-model.ts'

useTestSeed()

const config = { layers: 1, width: 16, heads: 2, context: 8, vocab: 12 }
const device = createTensorFlowDevice({ binding: loadBinding(), kind: 'graph', precision: 'f32' })
const model = new Gpt2(config, device)
const params = new Float32Array(model.layout.totalElems)
model.initialise(params, 3)
// Larger than first weights, so that the distribution is far from uniform.
for (const [i, x] of params.entries()) params[i] = x * 10
afterAll(() => {
  model.dispose()
  device.dispose()
})

const logitsArray = fc
  .array(fc.float({ noNaN: true, min: -20, max: 20 }), { minLength: 1, maxLength: 30 })
  .map(values => Float32Array.from(values))
const uniform = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

describe('drawing a token', () => {
  it('at temperature 0, or among one, takes the likeliest', () => {
    fc.assert(
      fc.property(logitsArray, uniform, (logits, u) => {
        const best = logits.indexOf(Math.max(...logits))
        expect(drawToken(logits, 0, 0, u)).toBe(best)
        expect(logits[drawToken(logits, 1, 1, u)]).toBe(logits[best])
      }),
    )
  })

  it('never leaves the k likeliest', () => {
    fc.assert(
      fc.property(logitsArray, uniform, fc.integer({ min: 1, max: 40 }), (logits, u, k) => {
        const token = drawToken(logits, 0.7, k, u)
        const better = logits.filter(value => value > (logits[token] as number)).length
        expect(better).toBeLessThan(k)
      }),
    )
  })

  it('draws each token as often as the softmax says', () => {
    const logits = Float32Array.from([Math.log(5), Math.log(3), Math.log(2)])
    const draws = 1000
    const counts = [0, 0, 0]
    // Evenly spread numbers instead of random ones: the counts are then exact to one.
    for (let i = 0; i < draws; i++) {
      const token = drawToken(logits, 1, 0, (i + 0.5) / draws)
      counts[token] = (counts[token] as number) + 1
    }
    for (const [token, share] of [0.5, 0.3, 0.2].entries()) {
      expect(Math.abs((counts[token] as number) - share * draws)).toBeLessThanOrEqual(1)
    }
  })
})

describe('generating', () => {
  it('gives the same tokens for the same seed, beyond the context too, and reports each as it comes', () => {
    const seen: number[] = []
    const options = { tokens: 20, temperature: 1, topK: 5, seed: 4 }
    const tokens = generate(model, params, [1, 2, 3], { ...options, onToken: token => seen.push(token) })
    expect(tokens).toHaveLength(20)
    expect(seen).toEqual(tokens)
    expect(generate(model, params, [1, 2, 3], options)).toEqual(tokens)
    expect(generate(model, params, [1, 2, 3], { ...options, seed: 5 })).not.toEqual(tokens)
  })
})

describe('scoring', () => {
  it("gives log-probabilities of the tokens after the first, from the model's own logits", () => {
    const tokens = [3, 1, 4, 1, 5]
    const logits = model.logits(tokens, params)
    const expected = tokens.slice(1).map((token, i) => {
      const row = logits.subarray(i * config.vocab, (i + 1) * config.vocab)
      return (row[token] as number) - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0))
    })
    const logprobs = score(model, params, tokens)
    expect(logprobs).toHaveLength(4)
    for (const [i, value] of logprobs.entries()) expect(value).toBeCloseTo(expected[i] as number, 5)
  })

  it('sums to certainty over all continuations', () => {
    const total = Array.from({ length: config.vocab }, (_, token) =>
      Math.exp(score(model, params, [2, token])[0] as number),
    )
    expect(total.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5)
  })

  it.each([0, 1, 2, 8, 9, 13, 40])('takes texts of any length: %i tokens', length => {
    const tokens = Array.from({ length }, (_, i) => (i * 7) % config.vocab)
    const logprobs = score(model, params, tokens)
    expect(logprobs).toHaveLength(Math.max(0, length - 1))
    expect(logprobs.every(value => value < 0)).toBe(true)
  })
})
