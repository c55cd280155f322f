import { createPortableDevice, createTensorFlowDevice, type KernelDevice, loadBinding, loadTfjs } from '@skein/device'
import { relativeL2 } from '@skein/testkit'
import { afterEach, describe, expect, it } from 'vitest'
import { byName, LocalPipe } from '../local-pipe.test.support.ts'
import { randomBatch } from './batch.test.support.ts'
import type { Gpt2Config } from './config.ts'
import { Gpt2 } from './gpt2-model.ts'
import { Gpt2Pipeline, sharedSegment } from './gpt2-pipeline.ts'
import { sliceLengths } from './slices.ts'
import { gpt2Units } from './units.ts'

const config: Gpt2Config = { layers: 2, width: 16, heads: 2, context: 8, vocab: 24 }
const wte = 'transformer.wte.weight'
const samples = 3
const tf = loadTfjs()
const binding = loadBinding()
const open: { dispose(): void }[] = []
afterEach(() => {
  for (const owner of open.splice(0).toReversed()) owner.dispose()
})

const kinds = ['graph', 'raw', 'portable'] as const
function openDevice(kind: (typeof kinds)[number] = 'raw'): KernelDevice {
  const device =
    kind === 'portable' ? createPortableDevice(tf) : createTensorFlowDevice({ binding, kind, precision: 'f32' })
  open.push(device)
  return device
}

interface PipeOptions {
  /** Stages of each rank; default one a rank. */
  readonly ranks?: readonly (readonly number[])[]
  readonly byMessage?: boolean
  readonly slices?: readonly number[]
}

function openPipe(device: KernelDevice, cuts: readonly number[], options: PipeOptions = {}): LocalPipe {
  const { ranks = cuts.map((_, stage) => [stage]), byMessage = true, slices = [config.context] } = options
  const models = ranks.map(stages => new Gpt2Pipeline({ config, device, samples, stages, cuts, slices }))
  const pipe = new LocalPipe(models, { byMessage })
  open.push(pipe)
  return pipe
}

const microbatch = (index: number) => randomBatch(config, samples, index)

/** Loss and gradients of the model in one piece, summed over these microbatches. */
function whole(device: KernelDevice, microbatches: readonly number[]) {
  const model = new Gpt2(config, device, { numSegments: 1 })
  open.push(model)
  const params = new Float32Array(model.layout.totalElems)
  model.initialise(params, 5)
  const gradients = new Float32Array(params.length)
  const losses = microbatches.map((index, i) =>
    model.trainMicrobatch(microbatch(index), params, gradients, { accumulate: i > 0 }),
  )
  return {
    lossSum: losses.reduce((sum, { lossSum }) => sum + lossSum, 0),
    params: byName(model.layout, params),
    gradients: byName(model.layout, gradients),
  }
}

function expectEqualToWhole(pipe: LocalPipe, expected: ReturnType<typeof whole>) {
  const { lossSum } = pipe.loss()
  expect(Math.abs(lossSum / expected.lossSum - 1)).toBeLessThan(1e-5)
  const found = pipe.sumByName()
  expect(Object.keys(found).toSorted()).toEqual(Object.keys(expected.gradients).toSorted())
  for (const [name, gradient] of Object.entries(expected.gradients)) {
    expect(relativeL2(found[name] ?? [], gradient), name).toBeLessThan(1e-5)
  }
}

const cuts: readonly (readonly number[])[] = [[4], [1, 3], [3, 1], [2, 2], [1, 2, 1], [1, 1, 1, 1]]

describe('loss and every gradient equal the whole model', () => {
  it.each(cuts)('cut in stages of %i %i %i %i units', (...units) => {
    const own = units.filter(count => count !== undefined)
    const device = openDevice()
    const expected = whole(device, [0, 1])
    const pipe = openPipe(device, own)
    pipe.begin(microbatch)
    for (const index of [0, 1]) pipe.forward(index)
    for (const index of [0, 1]) pipe.backward(index)
    for (const index of [0, 1]) pipe.eachStage(stage => stage.weightGrad({ microbatch: index, slice: 0 }))
    expectEqualToWhole(pipe, expected)
    expect(pipe.loss().samples).toBe(2 * samples)
    pipe.begin(microbatch)
    for (const index of [0, 1]) {
      pipe.forward(index)
      pipe.backward(index, 0, 'backward')
    }
    expectEqualToWhole(pipe, expected)
  })

  it.each(kinds)('with %s kernels', kind => {
    const device = openDevice(kind)
    const expected = whole(device, [0])
    const pipe = openPipe(device, [1, 2, 1])
    pipe.begin(microbatch)
    pipe.forward(0)
    pipe.backward(0)
    pipe.eachStage(stage => stage.weightGrad({ microbatch: 0, slice: 0 }))
    expectEqualToWhole(pipe, expected)
  })

  it('bit for bit on raw kernels, of several microbatches, but for the tied embedding, which is added in two parts', () => {
    const device = openDevice('raw')
    const expected = whole(device, [0, 1, 2])
    const pipe = openPipe(device, [1, 1, 1, 1])
    pipe.begin(microbatch)
    for (const index of [0, 1, 2]) pipe.forward(index)
    for (const index of [2, 0, 1]) pipe.backward(index)
    for (const index of [0, 1, 2]) pipe.eachStage(stage => stage.weightGrad({ microbatch: index, slice: 0 }))
    const { [wte]: _, ...found } = pipe.sumByName()
    const { [wte]: __, ...others } = expected.gradients
    expect(found).toEqual(others)
    expect(pipe.loss().lossSum).toBe(expected.lossSum)
  })

  it('with the first and the last stage on one rank, which has the tied embedding once', () => {
    const device = openDevice()
    const expected = whole(device, [0])
    const pipe = openPipe(device, [1, 1, 1, 1], {
      ranks: [
        [0, 3],
        [1, 2],
      ],
    })
    const [outer, inner] = pipe.models.map(model => model.layout)
    expect(outer?.tensors.filter(({ name }) => name === wte)).toHaveLength(1)
    expect(inner?.tensors.some(({ name }) => name === wte)).toBe(false)
    pipe.begin(microbatch)
    pipe.forward(0)
    pipe.backward(0, 0, 'backward')
    expectEqualToWhole(pipe, expected)
  })
})

describe('the layout of a rank', () => {
  const device = createTensorFlowDevice({ binding, kind: 'raw', precision: 'f32' })
  const model = (stages: readonly number[], units: readonly number[]) => {
    const made = new Gpt2Pipeline({ config, device, samples, stages, cuts: units })
    open.push(made)
    return made
  }

  it('has a bucket a stage, the last stage first, and one for the tied embedding where stages share it', () => {
    const segments = (stages: readonly number[], units: readonly number[]) =>
      model(stages, units).layout.buckets.map(({ segment }) => segment)
    expect(segments([0], [4])).toEqual([0])
    expect(segments([0], [2, 2])).toEqual([0, sharedSegment])
    expect(segments([1], [2, 2])).toEqual([1, sharedSegment])
    expect(segments([1, 2], [1, 1, 1, 1])).toEqual([2, 1])
    expect(segments([0, 3], [1, 1, 1, 1])).toEqual([3, 0, sharedSegment])
  })

  it('knows which stages of the pipe have a parameter', () => {
    const middle = model([1], [1, 2, 1])
    expect(middle.stagesOf(wte)).toEqual([0, 2])
    expect(middle.stagesOf('transformer.wpe.weight')).toEqual([0])
    expect(middle.stagesOf('transformer.h.1.ln_1.bias')).toEqual([1])
    expect(middle.stagesOf('transformer.ln_f.weight')).toEqual([2])
    expect(model([0], [4]).stagesOf(wte)).toEqual([0])
    expect(() => middle.stagesOf('transformer.h.2.ln_1.bias')).toThrow(
      expect.objectContaining({ code: 'SKEIN_MODEL_PARAMETER' }),
    )
  })

  it("has the whole model's first weights, whichever stages are here", () => {
    const { params } = whole(device, [])
    for (const [stages, units] of [
      [[0], [2, 2]],
      [[1], [2, 2]],
      [
        [0, 2],
        [1, 2, 1],
      ],
    ] as const) {
      const part = model(stages, units)
      const flat = new Float32Array(part.layout.totalElems)
      part.initialise(flat, 5)
      for (const [name, values] of Object.entries(byName(part.layout, flat))) expect(values, name).toEqual(params[name])
    }
  })

  it('refuses cuts that are no partition of the units, and stages that the pipe does not have', () => {
    expect(gpt2Units(config)).toEqual(['transformer.wte', 'transformer.h.0', 'transformer.h.1', 'transformer.ln_f'])
    for (const units of [[], [2, 1], [4, 0], [2, 3], [1.5, 2.5]]) {
      expect(() => model([0], units)).toThrow(expect.objectContaining({ code: 'SKEIN_MODEL_CUT' }))
    }
    expect(() => model([2], [2, 2])).toThrow(expect.objectContaining({ code: 'SKEIN_MODEL_CUT' }))
  })
})

describe('microbatches in flight', () => {
  it('give the same bits whatever the order of their passes, while W of a stage goes by microbatch', () => {
    const device = openDevice('graph')
    const gradients = (run: (pipe: LocalPipe) => void) => {
      const pipe = openPipe(device, [2, 1, 1])
      pipe.begin(microbatch)
      run(pipe)
      return { gradients: pipe.sumByName(), loss: pipe.loss() }
    }
    const weightGrads = (pipe: LocalPipe, index: number) =>
      pipe.eachStage(stage => stage.weightGrad({ microbatch: index, slice: 0 }))
    const oneByOne = gradients(pipe => {
      for (const index of [0, 1, 2]) {
        pipe.forward(index)
        pipe.backward(index)
        weightGrads(pipe, index)
      }
    })
    const interleaved = gradients(pipe => {
      pipe.forward(1)
      pipe.forward(0)
      pipe.backward(1)
      pipe.forward(2)
      pipe.backward(0)
      weightGrads(pipe, 0)
      pipe.backward(2)
      weightGrads(pipe, 1)
      weightGrads(pipe, 2)
    })
    expect(interleaved).toEqual(oneByOne)
  })

  it('keep the parameters that they went forward with when a step begins with others', () => {
    const device = openDevice()
    const expected = whole(device, [0])
    const pipe = openPipe(device, [2, 2])
    pipe.begin(microbatch)
    pipe.forward(0)
    const lossSum = pipe.loss().lossSum
    const others = pipe.params.map(params => params.map(x => x + 1))
    for (const [rank, model] of pipe.models.entries()) {
      for (const stage of model.stages.values()) {
        const gradients = pipe.gradients[rank] as Float32Array
        stage.begin({ batch: microbatch, params: others[rank] as Float32Array, gradients })
      }
    }
    pipe.backward(0)
    pipe.eachStage(stage => stage.weightGrad({ microbatch: 0, slice: 0 }))
    expect(Math.abs(lossSum / expected.lossSum - 1)).toBeLessThan(1e-5)
    for (const [name, gradient] of Object.entries(expected.gradients)) {
      expect(relativeL2(pipe.sumByName()[name] ?? [], gradient), name).toBeLessThan(1e-5)
    }
  })

  it('keep less once B is done: only what W reads', () => {
    const device = openDevice()
    const pipe = openPipe(device, [4])
    pipe.begin(microbatch)
    pipe.forward(0)
    const afterForward = pipe.heldBytes()
    pipe.backward(0)
    const { width, heads, context, layers, vocab } = config
    const rows = samples * context
    // A block: xhat and y of two norms, y of attention and GELU (four times as wide), six inner gradients (one of them three, one four times as
    // wide). The head: xhat, y, dNorm and the gradient of the logits. The embedding: dx and ids.
    const kept = layers * rows * width * (4 + 1 + 4 + 4 + 3 + 4) + rows * (3 * width + vocab) + rows * width + rows
    expect(pipe.heldBytes()).toBe(4 * kept)
    expect(afterForward).toBeGreaterThan(4 * layers * samples * heads * context * context)
    pipe.eachStage(stage => stage.weightGrad({ microbatch: 0, slice: 0 }))
    expect(pipe.heldBytes()).toBe(0)
  })

  it('are dropped by a reset, and nothing stays on the device', () => {
    for (const kind of kinds) {
      const device = openDevice(kind)
      const before = device.ledger().liveTensors
      const pipe = openPipe(device, [1, 2, 1])
      pipe.begin(microbatch)
      pipe.forward(0)
      pipe.forward(1, 0, 'input')
      pipe.forward(2)
      pipe.backward(2)
      pipe.eachStage(stage => stage.offload({ microbatch: 2, slice: 0 }, 0.5))
      expect(device.ledger().liveTensors).toBeGreaterThan(before)
      pipe.eachStage(stage => stage.reset())
      expect(device.ledger().liveTensors, kind).toBe(before)
      expect(pipe.loss()).toEqual({ lossSum: 0, samples: 0 })
      pipe.begin(microbatch)
      pipe.forward(0)
      pipe.dispose()
      expect(device.ledger().liveTensors, kind).toBe(before)
    }
  })

  it('leave as many tensors after the third step as after the first', () => {
    const device = openDevice('graph')
    const pipe = openPipe(device, [1, 1, 2])
    const step = () => {
      pipe.begin(microbatch)
      for (const index of [0, 1]) pipe.forward(index, 0, index === 0 ? 'input' : 'activations')
      pipe.eachStage(stage => stage.recompute({ microbatch: 0, slice: 0 }))
      pipe.backward(0)
      pipe.backward(1, 0, 'backward')
      pipe.eachStage(stage => stage.weightGrad({ microbatch: 0, slice: 0 }))
      pipe.forward(7, 0, 'nothing')
      const { liveTensors, liveBytes, backendTensors } = device.ledger()
      return { liveTensors, liveBytes, backendTensors }
    }
    const first = step()
    step()
    expect(step()).toEqual(first)
    expect(pipe.heldBytes()).toBe(0)
  })
})

describe('memory traded', () => {
  it.each(kinds)('for time: activations made again are the same bits (%s kernels)', kind => {
    const device = openDevice(kind)
    const pipe = openPipe(device, [1, 2, 1])
    const run = (keeps: 'activations' | 'input') => {
      pipe.begin(microbatch)
      pipe.forward(0, 0, keeps)
      const held = pipe.heldBytes()
      if (keeps === 'input') pipe.eachStage(stage => stage.recompute({ microbatch: 0, slice: 0 }))
      pipe.backward(0)
      pipe.eachStage(stage => stage.weightGrad({ microbatch: 0, slice: 0 }))
      return { held, loss: pipe.loss(), gradients: pipe.sumByName() }
    }
    const kept = run('activations')
    const again = run('input')
    expect({ ...again, held: 0 }).toEqual({ ...kept, held: 0 })
    const { context, width } = config
    const rows = samples * context
    // Two inputs [N,D], ids and targets [N].
    expect(again.held).toBe(4 * rows * (2 * width + 2))
  })

  it.each(kinds)('for copies: what was on the host comes back bit for bit (%s kernels)', kind => {
    const device = openDevice(kind)
    const pipe = openPipe(device, [2, 2])
    const run = (share: number) => {
      pipe.begin(microbatch)
      pipe.forward(0)
      for (const between of ['forward', 'inputGrad']) {
        const bytes = () => ({ held: pipe.heldBytes(), live: device.ledger().liveBytes })
        const before = bytes()
        if (share > 0) pipe.eachStage(stage => stage.offload({ microbatch: 0, slice: 0 }, share))
        const gone = before.held - bytes().held
        expect(before.live - bytes().live).toBe(gone)
        expect(gone).toBeGreaterThanOrEqual(before.held * share)
        if (share > 0) pipe.eachStage(stage => stage.reload({ microbatch: 0, slice: 0 }))
        expect(bytes()).toEqual(before)
        if (between === 'forward') pipe.backward(0)
      }
      pipe.eachStage(stage => stage.weightGrad({ microbatch: 0, slice: 0 }))
      return { loss: pipe.loss(), gradients: pipe.sumByName() }
    }
    const kept = run(0)
    for (const share of [0.3, 1]) expect(run(share)).toEqual(kept)
  })

  it('an evaluation keeps nothing', () => {
    const device = openDevice()
    const expected = whole(device, [4])
    const pipe = openPipe(device, [1, 2, 1])
    pipe.begin(microbatch)
    pipe.forward(4, 0, 'nothing')
    expect(pipe.heldBytes()).toBe(0)
    expect(Math.abs(pipe.loss().lossSum / expected.lossSum - 1)).toBeLessThan(1e-5)
  })
})

describe('slices of the sequence', () => {
  type Way = (pipe: LocalPipe, slices: number, indexes: readonly number[]) => void
  const upTo = (n: number) => Array.from({ length: n }, (_, i) => i)
  const falling = (slices: number, run: (slice: number) => void) => upTo(slices).toReversed().forEach(run)

  const ways: Record<string, Way> = {
    'B and W apart, W rising': (pipe, slices, indexes) => {
      for (const index of indexes) for (const slice of upTo(slices)) pipe.forward(index, slice)
      for (const index of indexes) falling(slices, slice => pipe.backward(index, slice))
      for (const index of indexes) {
        for (const slice of upTo(slices)) pipe.eachStage(stage => stage.weightGrad({ microbatch: index, slice }))
      }
    },
    'BW, microbatch by microbatch': (pipe, slices, indexes) => {
      for (const index of indexes) {
        for (const slice of upTo(slices)) pipe.forward(index, slice)
        falling(slices, slice => pipe.backward(index, slice, 'backward'))
      }
    },
    'with R, and offloaded between': (pipe, slices, indexes) => {
      for (const index of indexes) {
        for (const slice of upTo(slices)) {
          pipe.forward(index, slice, slice % 2 === 0 ? 'input' : 'activations')
          pipe.eachStage(stage => stage.offload({ microbatch: index, slice }, 0.6))
        }
      }
      for (const index of indexes) {
        falling(slices, slice => {
          pipe.eachStage(stage => stage.reload({ microbatch: index, slice }))
          if (slice % 2 === 0) pipe.eachStage(stage => stage.recompute({ microbatch: index, slice }))
          pipe.backward(index, slice)
          pipe.eachStage(stage => stage.weightGrad({ microbatch: index, slice }))
        })
      }
    },
  }
  const lengths: readonly (readonly number[])[] = [
    [4, 4],
    [5, 3],
    [2, 3, 3],
  ]
  const table = Object.keys(ways).flatMap(way => lengths.map(slices => [slices.join('+'), way, slices] as const))

  it.each(table)('of %s tokens give the gradients of the whole: %s', (_, way, slices) => {
    const device = openDevice()
    const expected = whole(device, [0, 1])
    const { liveTensors } = device.ledger()
    const pipe = openPipe(device, [2, 1, 1], { slices })
    pipe.begin(microbatch)
    ways[way]?.(pipe, slices.length, [0, 1])
    expectEqualToWhole(pipe, expected)
    expect(pipe.loss().samples).toBe(2 * samples)
    expect(pipe.heldBytes()).toBe(0)
    pipe.eachStage(stage => stage.reset())
    expect(device.ledger().liveTensors).toBe(liveTensors)
  })

  it.each(['graph', 'portable'] as const)('run on %s kernels, too', kind => {
    const device = openDevice(kind)
    const expected = whole(device, [0, 1])
    const pipe = openPipe(device, [2, 2], { slices: [5, 3] })
    for (const run of Object.values(ways)) {
      pipe.begin(microbatch)
      run(pipe, 2, [0, 1])
      expectEqualToWhole(pipe, expected)
    }
  })

  it('give the same bits from activations that were made again or were away', () => {
    const device = openDevice('graph')
    const gradients = (recomputes: boolean) => {
      const pipe = openPipe(device, [2, 2], { slices: [3, 5] })
      const bytes: number[] = []
      pipe.begin(microbatch)
      for (const slice of [0, 1]) {
        pipe.forward(0, slice, recomputes ? 'input' : 'activations')
        if (recomputes) pipe.eachStage(stage => stage.offload({ microbatch: 0, slice }, 1))
        bytes.push(pipe.heldBytes())
      }
      for (const slice of [1, 0]) {
        if (recomputes) pipe.eachStage(stage => stage.reload({ microbatch: 0, slice }))
        if (recomputes) pipe.eachStage(stage => stage.recompute({ microbatch: 0, slice }))
        pipe.backward(0, slice)
        pipe.eachStage(stage => stage.weightGrad({ microbatch: 0, slice }))
      }
      return { bytes, result: { loss: pipe.loss(), gradients: pipe.sumByName() } }
    }
    const kept = gradients(false)
    const again = gradients(true)
    expect(again.result).toEqual(kept.result)
    // With all else away, keys and values of a block, [B,H,T,K] each, stay for the slices behind.
    const perToken = 4 * 2 * config.layers * samples * config.width
    expect(again.bytes).toEqual([3 * perToken, 8 * perToken])
  })

  it('keep no more than the whole, each its part: its attention looks at what is before it only', () => {
    const device = openDevice()
    const held = (slices: readonly number[]) => {
      const pipe = openPipe(device, [4], { slices })
      pipe.begin(microbatch)
      return slices.map((_, slice) => {
        const before = pipe.heldBytes()
        pipe.forward(0, slice)
        return pipe.heldBytes() - before
      })
    }
    const [all] = held([8]) as [number]
    const parts = held([2, 2, 2, 2])
    expect(parts.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(all)
    expect(parts).toEqual(parts.toSorted((a, b) => a - b))
    // Of a block's attention weights [B,H,T,S] a slice has as many columns as the tokens up to its end.
    const weights = (columns: number) => 4 * config.layers * samples * config.heads * 2 * columns
    expect((parts[3] as number) - (parts[0] as number)).toBe(weights(8) - weights(2))
  })

  it('are evaluated, and leave nothing behind', () => {
    const device = openDevice()
    const expected = whole(device, [0])
    const pipe = openPipe(device, [2, 2], { slices: [2, 5, 1] })
    pipe.begin(microbatch)
    for (const slice of [0, 1, 2]) pipe.forward(0, slice, 'nothing')
    expect(Math.abs(pipe.loss().lossSum / expected.lossSum - 1)).toBeLessThan(1e-5)
    expect(pipe.heldBytes()).toBe(0)
  })

  it('have passes in their order only', () => {
    const pipe = openPipe(openDevice(), [2, 2], { slices: [4, 4] })
    const refused = (run: () => void, message: RegExp) => {
      pipe.eachStage(stage => stage.reset())
      pipe.begin(microbatch)
      expect(run).toThrow(
        expect.objectContaining({ code: 'SKEIN_MODEL_STAGE_ORDER', message: expect.stringMatching(message) }),
      )
    }
    refused(() => pipe.forward(0, 1), /slice 0 has to go forward before/)
    refused(() => (pipe.forward(0, 0), pipe.backward(0, 0)), /slice 1 has to go backward before/)
    refused(() => (pipe.forward(0, 0), pipe.forward(0, 1), pipe.backward(0, 0)), /slice 1 has to go backward before/)
    refused(() => pipe.forward(0, 2), /slice 2 of a sequence in 2/)
  })

  it('must make up the context', () => {
    for (const slices of [[], [4], [4, 5], [8, 0], [3.5, 4.5]]) {
      expect(() => openPipe(openDevice(), [4], { slices })).toThrow(
        expect.objectContaining({ code: 'SKEIN_MODEL_CUT', message: expect.stringMatching(/context of 8/) }),
      )
    }
    expect(sliceLengths(8, [0, 0.6, 1])).toEqual([5, 3])
    expect(sliceLengths(3, [0, 0.01, 0.02, 1])).toEqual([1, 1, 1])
    expect(sliceLengths(3, [0, 0.98, 0.99, 1])).toEqual([1, 1, 1])
    expect(() => sliceLengths(3, [0, 0.2, 0.4, 0.6, 1])).toThrow(expect.objectContaining({ code: 'SKEIN_MODEL_CUT' }))
  })
})

describe('a pass out of order is refused, and says what would be next', () => {
  const piece = { microbatch: 3, slice: 0 }
  const wrong: Record<string, readonly [(pipe: LocalPipe) => void, RegExp]> = {
    'B before F': [pipe => pipe.stage(0).inputGrad(piece, undefined), /microbatch 3.*stage 0.*not in flight/],
    'W before B': [pipe => (pipe.forward(3), pipe.stage(1).weightGrad(piece)), /next pass is inputGrad/],
    'B twice': [pipe => (pipe.forward(3), pipe.backward(3), pipe.backward(3)), /next pass is weightGrad/],
    'F twice': [pipe => (pipe.forward(3), pipe.forward(3)), /forward already/],
    'B without R': [pipe => (pipe.forward(3, 0, 'input'), pipe.backward(3)), /next pass is recompute/],
    'R of what is there': [pipe => (pipe.forward(3), pipe.stage(0).recompute(piece)), /next pass is inputGrad/],
    'B of what is on the host': [
      pipe => (pipe.forward(3), pipe.stage(1).offload(piece, 1), pipe.backward(3)),
      /offloaded/,
    ],
    'a reload of what is not': [pipe => (pipe.forward(3), pipe.stage(0).reload(piece)), /not offloaded/],
    'no input': [pipe => pipe.stage(1).forward(piece, undefined, 'activations'), /x of 384 elements, and none/],
    'an input of another size': [
      pipe => pipe.stage(1).forward(piece, { elems: 5, copyTo: () => undefined, release: () => undefined }, 'nothing'),
      /x of 384 elements, and one of 5/,
    ],
  }
  it.each(Object.keys(wrong))('%s', name => {
    const [run, message] = wrong[name] as (typeof wrong)[string]
    const device = openDevice()
    const before = device.ledger().liveTensors
    const pipe = openPipe(device, [2, 2], { byMessage: false })
    pipe.begin(microbatch)
    expect(() => run(pipe)).toThrow(
      expect.objectContaining({ code: 'SKEIN_MODEL_STAGE_ORDER', message: expect.stringMatching(message) }),
    )
    pipe.dispose()
    expect(device.ledger().liveTensors).toBe(before)
  })

  it('and so is any pass before a step', () => {
    const pipe = openPipe(openDevice(), [4])
    expect(() => pipe.forward(0)).toThrow(expect.objectContaining({ code: 'SKEIN_MODEL_STAGE_ORDER' }))
  })
})
