import { seededRandom } from '@skein/core'
import {
  createTensorFlowDevice,
  type KernelDevice,
  loadBinding,
  loadTfjs,
  type Precision,
  traceGraph,
} from '@skein/device'
import { maxAbsDifference, relativeL2 } from '@skein/testkit'
import { afterEach, describe, expect, it } from 'vitest'
import { adamwStep } from '../adamw.test.support.ts'
import { plainLossSum, type Tensor } from '../plain-gpt2.test.support.ts'
import type { Batch } from '../trainable-model.ts'
import { type Gpt2Config, gpt2Params, segmentRanges } from './config.ts'
import { Gpt2 } from './gpt2-model.ts'
import { wholeStep } from './segment-passes.ts'

const config: Gpt2Config = { layers: 3, width: 32, heads: 4, context: 16, vocab: 64 }
const samples = 4
const binding = loadBinding()
const tf = loadTfjs()
const open: { dispose(): void }[] = []
afterEach(() => {
  for (const owner of open.splice(0).toReversed()) owner.dispose()
})

function openDevice(kind: 'graph' | 'raw' = 'graph', precision: Precision = 'f32'): KernelDevice {
  const device = createTensorFlowDevice({ binding, kind, precision })
  open.push(device)
  return device
}

function openModel(device: KernelDevice, numSegments: number, sizes = config): Gpt2 {
  const model = new Gpt2(sizes, device, { numSegments })
  open.push(model)
  return model
}

function batchOf(step: number, count = samples, { context, vocab } = config): Batch {
  const random = seededRandom(91, step)
  const inputs = Int32Array.from({ length: count * context }, () => random.nextInt(vocab))
  // Something to learn: each token's successor.
  const targets = inputs.map(token => (token * 5 + 3) % vocab)
  const shape = [count, context]
  return { samples: count, arrays: { inputs: { data: inputs, shape }, targets: { data: targets, shape } } }
}

function firstParams(model: Gpt2, seed = 5): Float32Array {
  const params = new Float32Array(model.layout.totalElems)
  model.initialise(params, seed)
  return params
}

/** Gradients by name: layouts of different segments put them in different places. */
function byName(model: Gpt2, flat: Float32Array) {
  return Object.fromEntries(
    model.layout.tensors.map(({ name, offset, elems }) => [name, flat.slice(offset, offset + elems)]),
  )
}

describe('truth', () => {
  it('the losses of 20 AdamW steps equal a plain tfjs autodiff implementation within 1e-4', () => {
    const model = openModel(openDevice(), 2)
    const params = firstParams(model)
    const grads = new Float32Array(params.length)
    const start = byName(model, params)
    const settings = { lr: 3e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, gradScale: 1 / samples }
    const ours: number[] = []
    const moments = { m: new Float32Array(params.length), v: new Float32Array(params.length) }
    for (let step = 1; step <= 20; step++) {
      ours.push(model.trainMicrobatch(batchOf(step), params, grads, { accumulate: false }).lossSum / samples)
      for (const { offset, elems, decay } of model.layout.slabs) {
        const weightDecay = decay ? 0.1 : 0
        adamwStep(params, grads, moments, [offset, offset + elems], { ...settings, weightDecay, step })
      }
    }

    const plain = Object.fromEntries(
      model.layout.tensors.map(({ name, elems, decay, shape }) => {
        return [
          name,
          { shape, decay, value: start[name] as Float32Array, m: new Float32Array(elems), v: new Float32Array(elems) },
        ]
      }),
    )
    const theirs: number[] = []
    for (let step = 1; step <= 20; step++) {
      const { inputs, targets } = batchOf(step).arrays
      const names = Object.keys(plain)
      tf.tidy(() => {
        const tensors = names.map(name =>
          tf.tensor(plain[name]?.value as Float32Array, [...(plain[name]?.shape ?? [])]),
        )
        const { value, grads: gradients } = tf.valueAndGrads((...list: Tensor[]) =>
          plainLossSum(
            tf,
            config,
            Object.fromEntries(names.map((name, i) => [name, list[i] as Tensor])),
            inputs?.data as Int32Array,
            targets?.data as Int32Array,
          ),
        )(tensors)
        theirs.push((value.dataSync()[0] as number) / samples)
        for (const [i, name] of names.entries()) {
          const tensor = plain[name] as NonNullable<(typeof plain)[string]>
          const gradient = gradients[i]?.dataSync() as Float32Array
          const weightDecay = tensor.decay ? 0.1 : 0
          adamwStep(tensor.value, gradient, tensor, [0, gradient.length], { ...settings, weightDecay, step })
        }
      })
    }
    expect(maxAbsDifference(ours, theirs)).toBeLessThan(1e-4)
    expect(ours.at(-1)).toBeLessThan(ours[0] as number)
  })

  it('the number of segments and the way the passes are cut change no gradient beyond rounding', () => {
    const device = openDevice()
    const reference = openModel(device, 1)
    const expected = new Float32Array(reference.layout.totalElems)
    const { lossSum } = reference.trainMicrobatch(batchOf(1), firstParams(reference), expected, { accumulate: false })
    for (const numSegments of [1, 3]) {
      const model = openModel(device, numSegments)
      const params = firstParams(model)
      expect(byName(model, params)).toEqual(byName(reference, firstParams(reference)))
      const ways = {
        whole: (grads: Float32Array) => model.trainMicrobatch(batchOf(1), params, grads, { accumulate: false }),
        segments: (grads: Float32Array) =>
          model.trainMicrobatch(batchOf(1), params, grads, { accumulate: false, onBucket: () => undefined }),
        apart: (grads: Float32Array) => model.trainApart(batchOf(1), params, grads),
      }
      for (const [way, run] of Object.entries(ways)) {
        const grads = new Float32Array(model.layout.totalElems)
        expect(run(grads).lossSum).toBeCloseTo(lossSum, 4)
        const named = byName(model, grads)
        for (const [name, gradient] of Object.entries(byName(reference, expected))) {
          expect(relativeL2(named[name] ?? [], gradient), `${name}, ${numSegments} segments, ${way}`).toBeLessThan(1e-4)
        }
      }
    }
  })

  it('the gradient of a batch is the sum of the gradients of its parts', () => {
    const model = openModel(openDevice(), 2)
    const params = firstParams(model)
    const both = batchOf(1, 4)
    const part = (from: number, to: number): Batch => ({
      samples: to - from,
      arrays: Object.fromEntries(
        Object.entries(both.arrays).map(([name, { data }]) => {
          const { context } = config
          return [name, { data: data.slice(from * context, to * context), shape: [to - from, context] }]
        }),
      ),
    })
    const whole = new Float32Array(params.length)
    const parts = new Float32Array(params.length)
    const onBucket = () => undefined
    const { lossSum } = model.trainMicrobatch(both, params, whole, { accumulate: false })
    const losses = [part(0, 1), part(1, 4)].map((batch, i) =>
      model.trainMicrobatch(batch, params, parts, { accumulate: i > 0, onBucket }),
    )
    expect(losses.map(loss => loss.samples)).toEqual([1, 3])
    expect(losses.reduce((sum, loss) => sum + loss.lossSum, 0)).toBeCloseTo(lossSum, 4)
    expect(relativeL2(parts, whole)).toBeLessThan(1e-5)
  })
})

describe('buckets', () => {
  it('are reported in the order of the layout, each complete when it is', () => {
    const model = openModel(openDevice(), 3)
    const params = firstParams(model)
    const final = new Float32Array(params.length)
    model.trainMicrobatch(batchOf(1), params, final, { accumulate: false, onBucket: () => undefined })
    const grads = new Float32Array(params.length)
    const seen: number[] = []
    model.trainMicrobatch(batchOf(1), params, grads, {
      accumulate: false,
      onBucket: index => {
        seen.push(index)
        const { offset, elems } = model.layout.buckets[index] as { offset: number; elems: number }
        expect(relativeL2(grads.subarray(offset, offset + elems), final.subarray(offset, offset + elems))).toBeLessThan(
          1e-6,
        )
      },
    })
    expect(seen).toEqual([0, 1, 2])
  })
})

describe('bf16 products', () => {
  // bfloat16 keeps 8 significant bits: each product is off by up to 2^-8, and a gradient is the end of a chain of about 4 a layer.
  it('change the gradient by at most 3 % and the loss by 1 %', () => {
    const [exact, rounded] = (['f32', 'bf16'] as const).map(precision => {
      const model = openModel(openDevice('graph', precision), 1)
      const grads = new Float32Array(model.layout.totalElems)
      const { lossSum } = model.trainMicrobatch(batchOf(2), firstParams(model), grads, { accumulate: false })
      return { lossSum, grads }
    })
    expect(relativeL2(rounded?.grads ?? [], exact?.grads ?? [])).toBeLessThan(0.03)
    expect(relativeL2(rounded?.grads ?? [], exact?.grads ?? [])).toBeGreaterThan(1e-5)
    expect((rounded?.lossSum ?? 0) / (exact?.lossSum ?? 1)).toBeCloseTo(1, 2)
  })
})

describe('memory', () => {
  it('is flat over 1,000 steps', () => {
    const tiny: Gpt2Config = { layers: 2, width: 8, heads: 2, context: 4, vocab: 8 }
    const device = openDevice()
    const model = openModel(device, 2, tiny)
    const params = firstParams(model)
    const grads = new Float32Array(params.length)
    const batch = batchOf(1, 2, tiny)
    const step = (i: number) => {
      model.trainMicrobatch(
        batch,
        params,
        grads,
        i % 2 === 0 ? { accumulate: false } : { accumulate: true, onBucket: () => undefined },
      )
    }
    for (let i = 0; i < 4; i++) step(i)
    const { backendTensors, peakBytes } = device.ledger()
    for (let i = 0; i < 1000; i++) step(i)
    expect(device.ledger()).toEqual({ liveTensors: 0, liveBytes: 0, peakBytes, backendTensors })
  })
})

describe('structure of the traced step', () => {
  // Grappler folds a product, a multiplication by a scalar and an addition into one op that oneDNN runs in its reference loop,
  // a hundred times slower: no such chain may be in the graph.
  it('has no product that is scaled and then added to', () => {
    const sizes = { ...config, samples, tokens: config.context }
    const specs = Object.fromEntries(
      gpt2Params(config, segmentRanges(config.layers, 1)).map(({ name, shape }) => [name, { shape }]),
    )
    const rows = { shape: [samples * config.context], dtype: 'int32' as const }
    const { nodes } = traceGraph({ ...specs, ids: rows, targets: rows }, 'f32', (k, inputs) =>
      wholeStep(k, sizes, inputs),
    )
    const producer = new Map(nodes.map(node => [node.name, node]))
    const madeBy = (ref: string) => producer.get(ref.split(':')[0] as string)
    const isProduct = (ref: string) => /MatMul/.test(madeBy(ref)?.op ?? '')
    const isScalar = (ref: string) => madeBy(ref)?.outputs[0]?.length === 0
    const trapped = nodes.filter(
      node =>
        node.op === 'AddV2' &&
        node.inputs.some(input => {
          const made = madeBy(input)
          return made?.op === 'Mul' && made.inputs.some(isScalar) && made.inputs.some(isProduct)
        }),
    )
    expect(trapped).toEqual([])
    expect(nodes.filter(node => /MatMul/.test(node.op)).length).toBeGreaterThan(config.layers * 18)
  })
})

describe('first weights', () => {
  it('are those of GPT-2, the same for the same seed', () => {
    const model = openModel(openDevice(), 2, { layers: 2, width: 64, heads: 4, context: 32, vocab: 256 })
    const params = firstParams(model)
    expect(firstParams(model)).toEqual(params)
    expect(firstParams(model, 6)).not.toEqual(params)
    const deviation = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length)
    const named = byName(model, params)
    const expected = (name: string) => {
      if (name.endsWith('bias')) return 0
      if (/ln_\w\.weight$/.test(name)) return 1
      return name.endsWith('c_proj.weight') ? 0.01 : 0.02
    }
    for (const [name, values] of Object.entries(named)) {
      // Of n normal numbers, the deviation is known to 1/√(2n): five of those.
      const error = 5 / Math.sqrt(2 * values.length)
      const wanted = expected(name)
      expect(Math.abs(deviation(values) - wanted), name).toBeLessThanOrEqual(wanted === 1 ? 0 : wanted * error)
    }
  })
})

describe('a batch that does not fit', () => {
  const broken: readonly (readonly [string, Batch])[] = [
    ['has no targets', { samples, arrays: { inputs: batchOf(1).arrays['inputs'] as Batch['arrays'][string] } }],
    ['has another length', batchOf(1, samples, { ...config, context: 8 })],
    [
      'is not of integers',
      {
        samples,
        arrays: Object.fromEntries(
          Object.entries(batchOf(1).arrays).map(([name, a]) => [name, { ...a, data: Float32Array.from(a.data) }]),
        ),
      },
    ],
  ]
  it.each(broken)('is refused: it %s', (_, batch) => {
    const device = openDevice('raw')
    const model = openModel(device, 1)
    const params = firstParams(model)
    expect(() => model.trainMicrobatch(batch, params, params, { accumulate: false })).toThrow(
      expect.objectContaining({ code: 'SKEIN_MODEL_BATCH' }),
    )
    expect(device.ledger().liveTensors).toBe(0)
  })
})

it('sizes that do not fit together are refused, with both named', () => {
  const device = openDevice('raw')
  expect(() => new Gpt2({ ...config, heads: 5 }, device)).toThrow(
    expect.objectContaining({ code: 'SKEIN_MODEL_SIZES', message: expect.stringMatching(/width of 32.*5 heads/) }),
  )
  expect(() => new Gpt2(config, device, { numSegments: 4 })).toThrow(
    expect.objectContaining({ code: 'SKEIN_MODEL_SIZES', message: expect.stringMatching(/4 segments.*3 layers/) }),
  )
})
