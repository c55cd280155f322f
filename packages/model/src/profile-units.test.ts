import { systemClock } from '@skein/core'
import { createTensorFlowDevice, loadBinding, loadTfjs } from '@skein/device'
import { partition } from '@skein/planner'
import { describe, expect, it } from 'vitest'
import { flatLayout } from './flat-layout.ts'
import type { Gpt2Config } from './gpt2/config.ts'
import { profileGpt2, profileGpt2Vocabulary } from './gpt2/profile-gpt2.ts'
import { LayersPipeline } from './layers-model/layers-pipeline.ts'
import type { PipelineModel, PipelineStage } from './pipeline-stage.ts'
import { profileUnits } from './profile-units.ts'

describe('a GPT-2', () => {
  const config: Gpt2Config = { layers: 3, width: 16, heads: 2, context: 8, vocab: 24 }
  const samples = 2

  it('is measured unit by unit, its blocks as one, and nothing stays on the device', () => {
    const device = createTensorFlowDevice({ binding: loadBinding(), kind: 'graph', precision: 'f32' })
    const units = profileGpt2({ config, device, samples }, { clock: systemClock, maxRounds: 3 })
    expect(device.ledger().liveTensors).toBe(0)
    device.dispose()
    expect(units.map(({ name }) => name)).toEqual([
      'transformer.wte',
      'transformer.h.0',
      'transformer.h.1',
      'transformer.h.2',
      'transformer.ln_f',
    ])
    for (const { name, forward, inputGrad, weightGrad, backward } of units) {
      expect(Math.min(forward, inputGrad, weightGrad, backward), name).toBeGreaterThan(0)
    }
    const [embedding, first, second, , head] = units
    expect({ ...second, name: first?.name }).toEqual(first)
    const { width, context, vocab, heads } = config
    const rows = samples * context
    expect(units.map(({ boundaryBytes }) => boundaryBytes)).toEqual([...[0, 0, 0, 0].map(() => 4 * rows * width), 0])
    expect(embedding?.parameterBytes).toBe(4 * (vocab + context) * width)
    expect(first?.parameterBytes).toBe(4 * (12 * width ** 2 + 13 * width))
    expect(head?.parameterBytes).toBe(4 * (vocab + 2) * width)
    const words = { 'transformer.wte.weight': 4 * vocab * width }
    expect(units.map(({ tied }) => tied)).toEqual([words, undefined, undefined, undefined, words])
    // The embedding keeps its ids, then dx too; a block the square of its context for each head, among others.
    expect(embedding).toMatchObject({ activationBytes: 4 * rows, gradientBytes: 4 * rows * width })
    expect(first?.activationBytes).toBeGreaterThan(4 * samples * heads * context ** 2 + 4 * 10 * rows * width)
  })

  it('is measured with its vocabulary over three ranks: the largest part, and what embedding and head do then', () => {
    const device = createTensorFlowDevice({ binding: loadBinding(), kind: 'graph', precision: 'f32' })
    const found = profileGpt2Vocabulary({ config, device, samples, ranks: 3 }, { clock: systemClock, maxRounds: 3 })
    expect(device.ledger().liveTensors).toBe(0)
    device.dispose()
    const { width, context, vocab } = config
    const [rows, words] = [samples * context, vocab / 3]
    const { lookup, logits, gradients, lookupGrad, first, last } = found
    for (const time of [lookup, logits, gradients, lookupGrad]) expect(time).toBeGreaterThan(0)
    expect(found).toMatchObject({
      ranks: 3,
      parameterBytes: 4 * words * width,
      boundaryBytes: 4 * rows * width,
      foundBytes: 4 * 3 * rows,
      // y, pull and the row of the target; exps; max.
      activationBytes: 4 * rows * (3 * width + words + 1),
    })
    expect(first).toMatchObject({ parameterBytes: 4 * context * width, boundaryBytes: 4 * rows * width })
    expect(last).toMatchObject({ parameterBytes: 4 * 2 * width, boundaryBytes: 0 })
    expect([first.tied, last.tied]).toEqual([undefined, undefined])
    expect(Math.min(first.forward, first.backward, last.forward, last.backward)).toBeGreaterThan(0)
  })

  it('can be cut by what was measured', () => {
    const device = createTensorFlowDevice({ binding: loadBinding(), kind: 'raw', precision: 'f32' })
    const units = profileGpt2({ config, device, samples }, { clock: systemClock, maxRounds: 1 })
    device.dispose()
    const cuts = partition(
      units.map(({ forward, backward }) => forward + backward),
      2,
    )
    expect(cuts.reduce((sum, count) => sum + count, 0)).toBe(units.length)
  })
})

it('a tf.LayersModel is measured layer by layer', () => {
  const tf = loadTfjs()
  const before = tf.memory().numTensors
  const layers = [
    tf.layers.dense({ name: 'a', inputShape: [3], units: 4 }),
    tf.layers.activation({ name: 'b', activation: 'tanh' }),
    tf.layers.dense({ name: 'c', units: 2 }),
  ]
  const model = new LayersPipeline({
    tf,
    model: tf.sequential({ layers }),
    loss: ({ output, arrays }) => tf.mean(tf.squaredDifference(output, arrays['labels'] as typeof output)),
    samples: 5,
    stages: [0, 1, 2],
    cuts: [1, 1, 1],
  })
  const batch = {
    samples: 5,
    arrays: {
      inputs: { data: new Float32Array(15), shape: [5, 3] },
      labels: { data: new Float32Array(10), shape: [5, 2] },
    },
  }
  const units = profileUnits({ model, names: ['a', 'b', 'c'], batch }, { clock: systemClock, maxRounds: 1 })
  model.dispose()
  expect(tf.memory().numTensors).toBe(before)
  const bytes = units.map(({ activationBytes, gradientBytes, boundaryBytes, parameterBytes }) => {
    return { activationBytes, gradientBytes, boundaryBytes, parameterBytes }
  })
  // Kept is the input; the labels too, for the loss. After B only gradients of weights are.
  expect(bytes).toEqual([
    { activationBytes: 60, gradientBytes: 4, boundaryBytes: 80, parameterBytes: 64 },
    { activationBytes: 80, gradientBytes: -80, boundaryBytes: 80, parameterBytes: 0 },
    { activationBytes: 80 + 60 + 40, gradientBytes: 40 - (80 + 60 + 40), boundaryBytes: 0, parameterBytes: 40 },
  ])
})

describe('time', () => {
  /** A stage that takes what `passMs` says of the clock, the first time of each pass a hundred times as much. */
  function scripted(passMs: (pass: string, call: number) => number) {
    let now = 0
    const calls: Record<string, number> = {}
    const take = (pass: string) => {
      const call = calls[pass] ?? 0
      calls[pass] = call + 1
      now += passMs(pass, call) * (call === 0 ? 100 : 1)
      return undefined
    }
    const stage: PipelineStage = {
      stage: 0,
      inputElems: () => 0,
      outputElems: () => 0,
      fromValues: () => expect.fail('nothing is sent'),
      begin: () => undefined,
      forward: () => take('forward'),
      inputGrad: () => take('inputGrad'),
      weightGrad: () => take('weightGrad'),
      backward: () => take('backward'),
      recompute: () => undefined,
      offload: () => undefined,
      reload: () => undefined,
      loss: () => ({ lossSum: 0, samples: 0 }),
      heldBytes: () => 0,
      reset: () => take('reset'),
    }
    const model: PipelineModel = {
      numStages: 1,
      layout: flatLayout([]),
      stages: new Map([[0, stage]]),
      stagesOf: () => [],
      initialise: () => undefined,
      initialIsRandom: false,
      dispose: () => undefined,
    }
    const units = { model, names: ['all'], batch: { samples: 1, arrays: {} } }
    return { units, calls, clock: { now: () => now } }
  }

  it('is the median of the rounds after the first', () => {
    const wild = (call: number) => (call === 3 ? 1000 : 0)
    const ms = { forward: 3, inputGrad: 4, weightGrad: 2, backward: 5, reset: 0 } as Record<string, number>
    const { units, calls, clock } = scripted((pass, call) => (ms[pass] as number) + wild(call))
    const [unit] = profileUnits(units, { clock, budgetMs: 1e6 })
    expect(unit).toMatchObject({ forward: 3, inputGrad: 4, weightGrad: 2, backward: 5 })
    // Two forwards a round, and a round to warm up.
    expect(calls).toEqual({ forward: 16, inputGrad: 8, weightGrad: 8, backward: 8, reset: 1 })
  })

  it('is bounded: after the budget no round begins, and one was measured', () => {
    const { units, calls, clock } = scripted(() => 10)
    const [unit] = profileUnits(units, { clock, budgetMs: 1 })
    expect(unit).toMatchObject({ forward: 10, backward: 10 })
    expect(calls['backward']).toBe(2)
  })
})
