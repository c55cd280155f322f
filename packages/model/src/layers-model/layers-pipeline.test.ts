import { seededRandom } from '@skein/core'
import { loadTfjs, type Tfjs } from '@skein/device'
import { relativeL2 } from '@skein/testkit'
import { afterEach, describe, expect, it } from 'vitest'
import { byName, LocalPipe } from '../local-pipe.test.support.ts'
import type { Batch } from '../trainable-model.ts'
import { FrozenLayers } from './frozen-layers.ts'
import { LayersModel, type LayersModelOptions } from './layers-model.ts'
import { LayersPipeline, layersUnits } from './layers-pipeline.ts'

const tf = loadTfjs()
const samples = 4
const open: { dispose(): void }[] = []
afterEach(() => {
  for (const owner of open.splice(0).toReversed()) owner.dispose()
})

type Build = (t: Tfjs) => LayersModelOptions['model']
const seeded = (t: Tfjs, seed: number) => t.initializers.glorotUniform({ seed })

/** Names are given: tfjs counts its own. Flatten has no weights. */
const convolution: Build = t =>
  t.sequential({
    layers: [
      t.layers.conv2d({
        name: 'conv',
        inputShape: [6, 6, 1],
        filters: 2,
        kernelSize: 3,
        activation: 'tanh',
        kernelInitializer: seeded(t, 1),
      }),
      t.layers.flatten({ name: 'flatten' }),
      t.layers.dense({ name: 'inner', units: 5, activation: 'tanh', kernelInitializer: seeded(t, 2) }),
      t.layers.dense({ name: 'outer', units: 3, kernelInitializer: seeded(t, 3) }),
    ],
  })

/** The same by the functional API, with a model as a layer. */
const functional: Build = t => {
  const inner = t.sequential({
    name: 'both',
    layers: [
      t.layers.flatten({ name: 'flatten', inputShape: [4, 4, 2] }),
      t.layers.dense({ name: 'inner', units: 5, activation: 'tanh', kernelInitializer: seeded(t, 2) }),
    ],
  })
  const input = t.input({ shape: [6, 6, 1] })
  const conv = t.layers.conv2d({
    name: 'conv',
    filters: 2,
    kernelSize: 3,
    activation: 'tanh',
    kernelInitializer: seeded(t, 1),
  })
  const outer = t.layers.dense({ name: 'outer', units: 3, kernelInitializer: seeded(t, 3) })
  const output = outer.apply(inner.apply(conv.apply(input)))
  return t.model({ inputs: input, outputs: output as never })
}

const crossEntropy: LayersModelOptions['loss'] = ({ tf: t, output, arrays }) =>
  t.losses.softmaxCrossEntropy(t.oneHot(arrays['labels'] as never, 3), output)

function microbatch(index: number): Batch {
  const random = seededRandom(7, index)
  const pixels = Float32Array.from({ length: samples * 36 }, () => random.nextNormal())
  const labels = Int32Array.from({ length: samples }, () => random.nextInt(3))
  return {
    samples,
    arrays: { inputs: { data: pixels, shape: [samples, 6, 6, 1] }, labels: { data: labels, shape: [samples] } },
  }
}

interface PipeOptions {
  readonly ranks?: readonly (readonly number[])[]
  readonly slices?: readonly number[]
  readonly loss?: LayersModelOptions['loss']
}

function openPipe(build: Build, cuts: readonly number[], options: PipeOptions = {}): LocalPipe {
  const { ranks = cuts.map((_, stage) => [stage]), slices = [36], loss = crossEntropy } = options
  const models = ranks.map(stages => {
    return new LayersPipeline({ tf, model: build(tf), loss, samples, stages, cuts, slices })
  })
  const pipe = new LocalPipe(models, { byMessage: true })
  open.push(pipe)
  return pipe
}

function whole(build: Build, microbatches: readonly number[], batch = microbatch) {
  const model = new LayersModel({ tf, model: build(tf), loss: crossEntropy })
  open.push(model)
  const params = new Float32Array(model.layout.totalElems)
  model.initialise(params)
  const gradients = new Float32Array(params.length)
  const losses = microbatches.map((index, i) =>
    model.trainMicrobatch(batch(index), params, gradients, { accumulate: i > 0 }),
  )
  return {
    lossSum: losses.reduce((sum, { lossSum }) => sum + lossSum, 0),
    params: byName(model.layout, params),
    gradients: byName(model.layout, gradients),
  }
}

function expectEqualToWhole(pipe: LocalPipe, expected: ReturnType<typeof whole>) {
  expect(Math.abs(pipe.loss().lossSum / expected.lossSum - 1)).toBeLessThan(1e-6)
  const found = pipe.sumByName()
  expect(Object.keys(found).toSorted()).toEqual(Object.keys(expected.gradients).toSorted())
  for (const [name, gradient] of Object.entries(expected.gradients)) {
    expect(relativeL2(found[name] ?? [], gradient), name).toBeLessThan(1e-6)
  }
}

const piece = (index: number) => ({ microbatch: index, slice: 0 })

describe('loss and every gradient equal the whole model', () => {
  it.each([[[4]], [[2, 2]], [[1, 3]], [[1, 1, 2]], [[1, 1, 1, 1]]])('cut in stages of %j layers', cuts => {
    const expected = whole(convolution, [0, 1])
    const pipe = openPipe(convolution, cuts)
    pipe.begin(microbatch)
    for (const index of [0, 1]) pipe.forward(index)
    for (const index of [0, 1]) pipe.backward(index)
    for (const index of [0, 1]) pipe.eachStage(stage => stage.weightGrad(piece(index)))
    expectEqualToWhole(pipe, expected)
    expect(pipe.loss().samples).toBe(2 * samples)
    pipe.begin(microbatch)
    for (const index of [0, 1]) {
      pipe.forward(index)
      pipe.backward(index, 0, 'backward')
    }
    expectEqualToWhole(pipe, expected)
    expect(pipe.heldBytes()).toBe(0)
  })

  it('made by the functional API, with a model as a layer, and its ends on one rank', () => {
    const expected = whole(functional, [0])
    const pipe = openPipe(functional, [1, 1, 1], { ranks: [[0, 2], [1]] })
    pipe.begin(microbatch)
    pipe.forward(0)
    pipe.backward(0)
    pipe.eachStage(stage => stage.weightGrad(piece(0)))
    expectEqualToWhole(pipe, expected)
  })

  it('with regularisers on every stage, also of a model that is a layer', () => {
    const regularised: Build = t => {
      const regularizer = (l2: number) => ({ kernelRegularizer: t.regularizers.l2({ l2 }) })
      const dense = { name: 'inner', units: 5, kernelInitializer: seeded(t, 2) }
      const inner = t.sequential({
        layers: [t.layers.flatten({ inputShape: [4, 4, 2] }), t.layers.dense({ ...dense, ...regularizer(3) })],
      })
      const conv = { name: 'conv', filters: 2, kernelSize: 3, kernelInitializer: seeded(t, 1) }
      return t.sequential({
        layers: [
          t.layers.conv2d({ ...conv, inputShape: [6, 6, 1], ...regularizer(2) }),
          inner,
          t.layers.dense({ name: 'outer', units: 3, kernelInitializer: seeded(t, 3), ...regularizer(1) }),
        ],
      })
    }
    const expected = whole(regularised, [0, 1])
    for (const cuts of [[3], [2, 1], [1, 1, 1]]) {
      const pipe = openPipe(regularised, cuts)
      pipe.begin(microbatch)
      for (const index of [0, 1]) pipe.forward(index)
      pipe.backward(0, 0, 'backward')
      pipe.backward(1)
      pipe.eachStage(stage => stage.weightGrad(piece(1)))
      expectEqualToWhole(pipe, expected)
      expect(pipe.loss().samples).toBe(2 * samples)
      // What evaluates goes without.
      pipe.begin(microbatch)
      pipe.forward(0, 0, 'nothing')
      const trained = whole(regularised, [0]).lossSum
      expect(pipe.loss().lossSum).toBeLessThan(trained - 1)
    }
  })

  it('with a mask that a layer hands on within itself', () => {
    const masked =
      (isOneLayer: boolean): Build =>
      t => {
        const kernels = { kernelInitializer: seeded(t, 1), recurrentInitializer: seeded(t, 2) }
        const inner = [
          t.layers.reshape({ inputShape: [6, 6, 1], targetShape: [6, 6] }),
          t.layers.masking(),
          t.layers.simpleRNN({ name: 'rnn', units: 4, ...kernels }),
        ]
        const outer = t.layers.dense({ name: 'outer', units: 3, kernelInitializer: seeded(t, 3) })
        return t.sequential({ layers: isOneLayer ? [t.sequential({ layers: inner }), outer] : [...inner, outer] })
      }
    /** The last row of each sample is masked. */
    const padded = (index: number): Batch => {
      const { arrays } = microbatch(index)
      arrays['inputs']?.data.forEach((_, i, data) => {
        if (i % 36 >= 30) data[i] = 0
      })
      return { samples, arrays }
    }
    const expected = whole(masked(false), [0], padded)
    const pipe = openPipe(masked(true), [1, 1])
    pipe.begin(padded)
    pipe.forward(0)
    pipe.backward(0, 0, 'backward')
    expectEqualToWhole(pipe, expected)
  })

  it('evaluated, with its layers told so', () => {
    const dropout: Build = t => {
      const model = convolution(t) as InstanceType<Tfjs['Sequential']>
      model.add(t.layers.dropout({ rate: 0.5 }))
      return model
    }
    const expected = whole(convolution, [2])
    const pipe = openPipe(dropout, [2, 3])
    pipe.begin(microbatch)
    pipe.forward(2, 0, 'nothing')
    expect(Math.abs(pipe.loss().lossSum / expected.lossSum - 1)).toBeLessThan(1e-6)
    expect(pipe.heldBytes()).toBe(0)
  })
})

describe('the layout of a rank', () => {
  it('has a bucket a stage with weights, and first weights as the model was built', () => {
    const { params } = whole(convolution, [])
    const pipe = openPipe(convolution, [1, 1, 1, 1], {
      ranks: [
        [0, 3],
        [1, 2],
      ],
    })
    expect(pipe.models.map(({ layout }) => layout.buckets.map(({ segment }) => segment))).toEqual([[3, 0], [2]])
    for (const [rank, model] of pipe.models.entries()) {
      const found = byName(model.layout, pipe.params[rank] as Float32Array)
      for (const [name, values] of Object.entries(found)) expect(values, name).toEqual(params[name])
    }
    expect(pipe.models[0]?.stagesOf('inner/kernel')).toEqual([2])
    expect(() => pipe.models[0]?.stagesOf('inner/kernels')).toThrow(
      expect.objectContaining({ code: 'SKEIN_MODEL_PARAMETER' }),
    )
  })
})

describe('pieces in flight', () => {
  const order = (run: (pipe: LocalPipe) => void) => {
    const pipe = openPipe(convolution, [2, 2])
    pipe.begin(microbatch)
    run(pipe)
    pipe.eachStage(stage => [0, 1].forEach(index => stage.weightGrad(piece(index))))
    return { loss: pipe.loss(), gradients: pipe.sumByName() }
  }
  const inOrder = (pipe: LocalPipe) => {
    for (const index of [0, 1]) pipe.forward(index)
    for (const index of [0, 1]) pipe.backward(index)
  }

  it('give the same bits in another order, from their input alone, and from the host', () => {
    const expected = order(inOrder)
    const others = order(pipe => {
      pipe.forward(1)
      pipe.forward(0, 0, 'input')
      pipe.eachStage(stage => stage.recompute(piece(0)))
      const held = pipe.heldBytes()
      pipe.eachStage(stage => stage.offload(piece(1), 1))
      expect(pipe.heldBytes()).toBeLessThan(held)
      pipe.backward(0)
      pipe.eachStage(stage => stage.reload(piece(1)))
      pipe.backward(1)
    })
    expect(others).toEqual(expected)
  })

  it('keep the parameters that they went forward with when a step begins with others', () => {
    const expected = whole(convolution, [0])
    const pipe = openPipe(convolution, [2, 2])
    const begin = (add: number) => {
      for (const [rank, model] of pipe.models.entries()) {
        const params = (pipe.params[rank] as Float32Array).map(x => x + add)
        const gradients = pipe.gradients[rank] as Float32Array
        for (const stage of model.stages.values()) stage.begin({ batch: microbatch, params, gradients })
      }
    }
    begin(0)
    pipe.forward(0)
    begin(1)
    pipe.forward(1)
    pipe.backward(0, 0, 'backward')
    const found = pipe.sumByName()
    for (const [name, gradient] of Object.entries(expected.gradients)) {
      expect(relativeL2(found[name] ?? [], gradient), name).toBeLessThan(1e-6)
    }
  })

  it('leave no tensor behind: not after steps, a reset, or the end', () => {
    const before = tf.memory().numTensors
    const pipe = openPipe(convolution, [1, 1, 1, 1])
    const built = tf.memory().numTensors
    // Weights of layers that are elsewhere are gone: six of them, each once.
    expect(built - before).toBe(6)
    const step = () => {
      pipe.begin(microbatch)
      inOrder(pipe)
      pipe.eachStage(stage => [0, 1].forEach(index => stage.weightGrad(piece(index))))
    }
    for (let i = 0; i < 3; i++) step()
    expect(tf.memory().numTensors).toBe(built)
    pipe.forward(2)
    pipe.forward(3)
    pipe.backward(3)
    pipe.eachStage(stage => stage.reset())
    expect(tf.memory().numTensors).toBe(built)
    pipe.dispose()
    expect(tf.memory().numTensors).toBe(before)
  })
})

describe('is refused, and says why', () => {
  const cut = (build: Build, cuts: readonly number[], options: PipeOptions = {}) => {
    return () => openPipe(build, cuts, options)
  }
  const branching: Build = t => {
    const input = t.input({ shape: [3] })
    const [a, b] = ['left', 'right'].map(name => t.layers.dense({ name, units: 2 }).apply(input))
    const sum = t.layers.add({ name: 'sum' }).apply([a, b] as never)
    return t.model({ inputs: input, outputs: sum as never })
  }
  const twoOutputs: Build = t => {
    const input = t.input({ shape: [3] })
    const outputs = ['left', 'right'].map(name => t.layers.dense({ name, units: 2 }).apply(input))
    return t.model({ inputs: input, outputs: outputs as never })
  }
  const usedTwice: Build = t => {
    const input = t.input({ shape: [3] })
    const layer = t.layers.dense({ name: 'again', units: 3 })
    return t.model({ inputs: input, outputs: layer.apply(layer.apply(input)) as never })
  }
  const openDim: Build = t =>
    t.sequential({
      layers: [
        t.layers.dense({ name: 'rows', inputShape: [null, 3], units: 2 }),
        t.layers.dense({ name: 'more', units: 2 }),
      ],
    })

  const masked: Build = t =>
    t.sequential({
      layers: [
        t.layers.embedding({ name: 'words', inputShape: [5], inputDim: 4, outputDim: 3, maskZero: true }),
        t.layers.simpleRNN({ units: 3 }),
        t.layers.dense({ units: 3 }),
      ],
    })
  const masking: Build = t => {
    const input = t.input({ shape: [5, 2] })
    const seen = t.layers.masking({ name: 'seen' }).apply(input)
    return t.model({ inputs: input, outputs: t.layers.lstm({ units: 3 }).apply(seen) as never })
  }

  const wrong: Record<string, readonly [() => unknown, RegExp]> = {
    'a model that branches, with the layer': [
      cut(branching, [1, 1]),
      /sum takes the outputs of several layers: left, right/,
    ],
    'several outputs': [cut(twoOutputs, [1, 1]), /left, right are several outputs/],
    'a layer in several places': [cut(usedTwice, [1, 1]), /again is used in several places/],
    'a boundary of no fixed shape': [cut(openDim, [1, 1]), /rows is \[4, , 2\]/],
    'other layers than there are': [cut(convolution, [2, 3]), /4 layers .* stages of 2, 3/],
    'a stage that is not there': [cut(convolution, [2, 2], { ranks: [[2]] }), /stage 2 .* 2 stages/],
    'an embedding that makes a mask': [cut(masked, [2, 1]), /words \(Embedding\) makes a mask/],
    'a layer that makes a mask, frozen': [
      () => new FrozenLayers({ tf, model: masking(tf), samples }),
      /seen \(Masking\) makes a mask/,
    ],
    'slices of a sequence': [cut(convolution, [2, 2], { slices: [18, 18] }), /2 slices/],
  }
  it.each(Object.keys(wrong))('%s', name => {
    const [run, message] = wrong[name] as (typeof wrong)[string]
    expect(run).toThrow(expect.objectContaining({ code: 'SKEIN_MODEL_CUT', message: expect.stringMatching(message) }))
  })

  it('a layer that is random while it trains, at the first forward pass', () => {
    const dropout: Build = t =>
      t.sequential({
        layers: [
          t.layers.flatten({ inputShape: [6, 6, 1] }),
          t.layers.dropout({ name: 'drop', rate: 0.5 }),
          t.layers.dense({ units: 3 }),
        ],
      })
    const pipe = openPipe(dropout, [2, 1])
    pipe.begin(microbatch)
    const before = tf.memory().numTensors
    expect(() => pipe.forward(0)).toThrow(
      expect.objectContaining({ code: 'SKEIN_MODEL_RANDOM_LAYER', message: expect.stringMatching(/drop \(Dropout\)/) }),
    )
    expect(tf.memory().numTensors).toBe(before)
  })

  it('a pass out of order, a batch of another size, a slice', () => {
    const pipe = openPipe(convolution, [2, 2])
    const order = expect.objectContaining({ code: 'SKEIN_MODEL_STAGE_ORDER' })
    expect(() => pipe.forward(0)).toThrow(order)
    pipe.begin(microbatch)
    expect(() => pipe.stage(0).weightGrad(piece(0))).toThrow(order)
    expect(() => pipe.forward(0, 1)).toThrow(order)
    expect(() => pipe.stage(1).forward(piece(0), undefined, 'activations')).toThrow(order)
    pipe.begin(() => ({ ...microbatch(0), samples: 3 }))
    expect(() => pipe.forward(0)).toThrow(expect.objectContaining({ code: 'SKEIN_MODEL_BATCH' }))
  })
})

it('layers are cut by their names', () => {
  const model = convolution(tf)
  expect(layersUnits({ tf, model })).toEqual(['conv', 'flatten', 'inner', 'outer'])
  model.dispose()
})
