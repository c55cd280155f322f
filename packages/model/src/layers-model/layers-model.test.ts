import { loadTfjs, type Tfjs } from '@skein/device'
import { maxAbsDifference } from '@skein/testkit'
import { afterEach, describe, expect, it } from 'vitest'
import { LayersModel, type LayersModelOptions } from './layers-model.ts'
import type { Batch } from '../trainable-model.ts'

const tf = loadTfjs()
const open: LayersModel[] = []
afterEach(() => {
  for (const model of open.splice(0)) model.dispose()
})

const squaredError: LayersModelOptions['loss'] = ({ tf: t, output, arrays }) =>
  t.mean(t.squaredDifference(output, arrays['labels'] as typeof output))

function openModel(build: (t: Tfjs) => LayersModelOptions['model'], loss = squaredError): LayersModel {
  const model = new LayersModel({ tf, model: build(tf), loss })
  open.push(model)
  return model
}

const twoLayers = (t: Tfjs) =>
  t.sequential({
    layers: [t.layers.dense({ inputShape: [3], units: 4, activation: 'tanh' }), t.layers.dense({ units: 1 })],
  })

function batchOf(samples: number, first = 0): Batch {
  const at = (i: number) => Math.sin(1 + (first + i) * 3.7)
  return {
    samples,
    arrays: {
      inputs: { data: Float32Array.from({ length: samples * 3 }, (_, i) => at(i)), shape: [samples, 3] },
      labels: { data: Float32Array.from({ length: samples }, (_, i) => at(i * 11)), shape: [samples, 1] },
    },
  }
}

function firstParams(model: LayersModel): Float32Array {
  const params = new Float32Array(model.layout.totalElems)
  model.initialise(params)
  return params
}

describe('a tf.LayersModel on flat buffers', () => {
  it('has gradients that equal numeric ones', () => {
    const model = openModel(twoLayers)
    const params = firstParams(model)
    const grads = new Float32Array(params.length)
    const batch = batchOf(5)
    const { lossSum, samples } = model.trainMicrobatch(batch, params, grads, { accumulate: false })
    expect(samples).toBe(5)
    expect(model.evaluate(batch, params).lossSum).toBeCloseTo(lossSum, 5)
    // Central differences of a float32 loss near 5: rounding 1e-6 over a step of 1e-2, and the third derivative.
    const h = 1e-2
    for (const { offset, elems } of model.layout.tensors) {
      for (let i = offset; i < offset + elems; i++) {
        const moved = (by: number) => model.evaluate(batch, params.with(i, (params[i] as number) + by)).lossSum
        expect(Math.abs((moved(h) - moved(-h)) / (2 * h) - (grads[i] as number))).toBeLessThan(5e-3)
      }
    }
  })

  it('sums gradients and losses over samples, however they are divided into microbatches', () => {
    const model = openModel(twoLayers)
    const params = firstParams(model)
    const parts = [batchOf(2), batchOf(3, 50)]
    const together: Batch = {
      samples: 5,
      arrays: Object.fromEntries(
        ['inputs', 'labels'].map(name => {
          const data = Float32Array.from(parts.flatMap(part => [...(part.arrays[name]?.data ?? [])]))
          return [name, { data, shape: [5, data.length / 5] }]
        }),
      ),
    }
    const whole = new Float32Array(params.length)
    const sum = new Float32Array(params.length).fill(9)
    const { lossSum } = model.trainMicrobatch(together, params, whole, { accumulate: false })
    const seen: number[] = []
    let partSum = 0
    for (const [i, part] of parts.entries()) {
      const onBucket = (bucket: number) => seen.push(bucket)
      partSum += model.trainMicrobatch(part, params, sum, { accumulate: i > 0, onBucket }).lossSum
    }
    expect(partSum).toBeCloseTo(lossSum, 4)
    for (const { offset, elems } of model.layout.tensors) {
      const [a, b] = [sum, whole].map(flat => flat.subarray(offset, offset + elems))
      expect(maxAbsDifference(a ?? [], b ?? [])).toBeLessThan(1e-5)
    }
    const buckets = [...model.layout.buckets.keys()]
    expect(seen).toEqual([...buckets, ...buckets])
  })

  it('takes a loss per sample as well as their mean', () => {
    const build = (t: Tfjs) =>
      t.sequential({ layers: [t.layers.dense({ inputShape: [3], units: 1, kernelInitializer: 'ones' })] })
    const perSample: LayersModelOptions['loss'] = ({ tf: t, output, arrays }) =>
      t.reshape(t.squaredDifference(output, arrays['labels'] as typeof output), [-1])
    const losses = [squaredError, perSample].map(loss => {
      const model = openModel(build, loss)
      return model.evaluate(batchOf(4), firstParams(model)).lossSum
    })
    expect(losses[0]).toBeCloseTo(losses[1] as number, 5)
  })

  it('has the same names however often its code has run, and those that the user gave', () => {
    const build = (t: Tfjs) =>
      t.sequential({
        layers: [
          t.layers.conv2d({ inputShape: [6, 6, 1], filters: 2, kernelSize: 3 }),
          t.layers.conv2d({ filters: 2, kernelSize: 3, name: 'block7' }),
          t.layers.conv2d({ filters: 2, kernelSize: 3 }),
          t.layers.flatten(),
          t.layers.dense({ units: 1 }),
        ],
      })
    const namesOf = () => openModel(build).layout.tensors.map(({ name }) => name)
    const names = namesOf()
    expect(new Set(names)).toEqual(
      new Set(
        ['conv2d_Conv2D1', 'block7', 'conv2d_Conv2D2', 'dense_Dense1'].flatMap(layer => [
          `${layer}/kernel`,
          `${layer}/bias`,
        ]),
      ),
    )
    expect(namesOf()).toEqual(names)
  })

  it('learns, and holds no more tensors after 1,000 steps than after one', () => {
    const model = openModel(twoLayers)
    const params = firstParams(model)
    const grads = new Float32Array(params.length)
    const batch = batchOf(6)
    const step = () => {
      const { lossSum, samples } = model.trainMicrobatch(batch, params, grads, { accumulate: false })
      for (const [i, gradient] of grads.entries()) params[i] = (params[i] as number) - (0.1 * gradient) / samples
      return lossSum
    }
    const first = step()
    const { liveTensors, liveBytes } = model.ledger()
    let last = first
    for (let i = 0; i < 1000; i++) last = step()
    expect(model.ledger()).toMatchObject({ liveTensors, liveBytes })
    expect(last).toBeLessThan(first / 2)
  })

  it('trains a convolutional net', () => {
    // Drawn freely, two filters may both be dead from the start.
    const seeded = (t: typeof tf, seed: number) => t.initializers.glorotUniform({ seed })
    const model = openModel(
      t =>
        t.sequential({
          layers: [
            t.layers.conv2d({
              inputShape: [6, 6, 1],
              filters: 2,
              kernelSize: 3,
              activation: 'relu',
              kernelInitializer: seeded(t, 1),
            }),
            t.layers.maxPooling2d({ poolSize: 2 }),
            t.layers.flatten(),
            t.layers.dense({ units: 2, kernelInitializer: seeded(t, 2) }),
          ],
        }),
      ({ tf: t, output, arrays }) =>
        t.losses.softmaxCrossEntropy(t.oneHot(t.cast(arrays['labels'] as typeof output, 'int32'), 2), output),
    )
    const labels = Int32Array.of(0, 1, 0, 1)
    const pixels = Float32Array.from({ length: 4 * 36 }, (_, i) => {
      const isRow = labels[Math.floor(i / 36)] === 0
      return (isRow ? Math.floor(i / 6) : i) % 2
    })
    const batch: Batch = {
      samples: 4,
      arrays: { inputs: { data: pixels, shape: [4, 6, 6, 1] }, labels: { data: labels, shape: [4] } },
    }
    const params = firstParams(model)
    const grads = new Float32Array(params.length)
    const losses = Array.from({ length: 30 }, () => {
      const { lossSum } = model.trainMicrobatch(batch, params, grads, { accumulate: false })
      for (const [i, gradient] of grads.entries()) params[i] = (params[i] as number) - 0.05 * gradient
      return lossSum
    })
    expect(losses.at(-1)).toBeLessThan(losses[0] as number)
  })
})

/** Every kind of place in which tfjs finds the losses of layers. */
const regularised: Record<string, (t: Tfjs) => LayersModelOptions['model']> = {
  'a sequence of layers': t =>
    t.sequential({
      layers: [
        t.layers.dense({
          inputShape: [3],
          units: 4,
          activation: 'tanh',
          kernelRegularizer: t.regularizers.l2({ l2: 0.3 }),
          biasRegularizer: t.regularizers.l1({ l1: 0.2 }),
          biasInitializer: 'ones',
        }),
        t.layers.dense({ units: 1, kernelRegularizer: t.regularizers.l1l2({ l1: 0.1, l2: 0.4 }) }),
      ],
    }),
  'a model that begins with a model': t => {
    const kernelRegularizer = t.regularizers.l2({ l2: 0.5 })
    const inner = t.sequential({ layers: [t.layers.dense({ inputShape: [3], units: 2, kernelRegularizer })] })
    return t.sequential({ layers: [inner, t.layers.dense({ units: 1 })] })
  },
  'a layer in two places': t => {
    const input = t.input({ shape: [3] })
    const twice = t.layers.dense({ units: 3, kernelRegularizer: t.regularizers.l2({ l2: 0.5 }) })
    const inner = twice.apply(twice.apply(input))
    return t.model({ inputs: input, outputs: t.layers.dense({ units: 1 }).apply(inner) as never })
  },
}

it.each(Object.keys(regularised))('regularisers train as tfjs’s own trainOnBatch does: %s', async name => {
  const rate = 0.1
  const built = (regularised[name] as (t: Tfjs) => LayersModelOptions['model'])(tf)
  const model = openModel(() => built)
  const params = firstParams(model)
  const grads = new Float32Array(params.length)
  const [first, second] = [batchOf(2), batchOf(3, 9)]
  const parts = [first, second].map((batch, i) => model.trainMicrobatch(batch, params, grads, { accumulate: i > 0 }))
  const joined = (array: 'inputs' | 'labels', width: number) =>
    tf.tensor2d(
      [first, second].flatMap(({ arrays }) => [...(arrays[array]?.data ?? [])]),
      [5, width],
    )
  const [inputs, labels] = [joined('inputs', 3), joined('labels', 1)]
  const evaluated = model.evaluate(first, params).lossSum + model.evaluate(second, params).lossSum

  built.compile({ optimizer: tf.train.sgd(rate), loss: 'meanSquaredError' })
  const ownEvaluation = (built.evaluate(inputs, labels) as ReturnType<Tfjs['scalar']>).dataSync()[0] as number
  const ownLoss = (await built.trainOnBatch(inputs, labels)) as number
  const updated = firstParams(model)
  expect(ownLoss).toBeGreaterThan(ownEvaluation + 0.1)
  expect(evaluated / 5).toBeCloseTo(ownEvaluation, 5)
  expect(parts.reduce((sum, { lossSum }) => sum + lossSum, 0) / 5).toBeCloseTo(ownLoss, 5)
  expect(
    maxAbsDifference(
      updated,
      params.map((x, i) => x - (rate * (grads[i] as number)) / 5),
    ),
  ).toBeLessThan(1e-6)
  tf.dispose([inputs, labels])
})

describe('is refused, with what to do', () => {
  it('a model without trainable weights', () => {
    const empty = (t: Tfjs) => t.sequential({ layers: [t.layers.flatten({ inputShape: [3, 1] })] })
    expect(() => openModel(empty)).toThrow(expect.objectContaining({ code: 'SKEIN_MODEL_NO_WEIGHTS' }))
  })

  it('a model whose layers keep running statistics', () => {
    const normalised = (t: Tfjs) =>
      t.sequential({ layers: [t.layers.dense({ inputShape: [3], units: 2 }), t.layers.batchNormalization()] })
    expect(() => openModel(normalised)).toThrow(
      expect.objectContaining({ code: 'SKEIN_MODEL_UNTRAINED_STATE', what: expect.stringContaining('moving_mean') }),
    )
  })

  it('weights with a constraint, also within a cell', () => {
    const constrained = (t: Tfjs) =>
      t.sequential({
        layers: [
          t.layers.simpleRNN({ inputShape: [3, 1], units: 2, recurrentConstraint: t.constraints.maxNorm({}) }),
          t.layers.dense({ name: 'last', units: 1, kernelConstraint: t.constraints.nonNeg() }),
        ],
      })
    expect(() => openModel(constrained)).toThrow(
      expect.objectContaining({
        code: 'SKEIN_MODEL_CONSTRAINT',
        what: expect.stringMatching(/recurrent_kernel.*, last\/kernel$/),
      }),
    )
  })

  it('a loss that is neither one value a sample nor their mean', () => {
    const model = openModel(twoLayers, ({ output }) => output)
    expect(() => model.evaluate(batchOf(4), firstParams(model))).toThrow(
      expect.objectContaining({ code: 'SKEIN_MODEL_LOSS_SHAPE' }),
    )
  })

  it('a batch without an input', () => {
    const model = openModel(twoLayers)
    const params = firstParams(model)
    const { labels } = batchOf(2).arrays
    const batch: Batch = { samples: 2, arrays: { labels: labels as NonNullable<typeof labels> } }
    expect(() => model.trainMicrobatch(batch, params, params, { accumulate: false })).toThrow(
      expect.objectContaining({ code: 'SKEIN_MODEL_INPUT_MISSING' }),
    )
  })
})
