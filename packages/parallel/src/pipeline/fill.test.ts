import fs from 'node:fs'
import path from 'node:path'
import { messagesOf } from '@skein/collective'
import type { OpenedGroup } from '@skein/collective/node'
import { CoreErrors, seededRandom, SkeinError, systemClock } from '@skein/core'
import { loadTfjs, type Tfjs } from '@skein/device'
import { type Batch, FrozenLayers, type FrozenPart, LayersPipeline, type StageTensor } from '@skein/model'
import {
  fillsAlone,
  generateSchedule,
  lower,
  piecesOf,
  type Schedule,
  takerOf,
  unitCosts,
  withFill,
  withPostValidation,
} from '@skein/schedule'
import { relativeL2, temporaryFolder } from '@skein/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fillBytes, FillExchange } from './fill-exchange.ts'
import { Mailbox, mailboxBytes } from './mailbox.ts'
import { stagesOfPart } from './mesh.ts'
import { PacedFrozen } from './paced-frozen.ts'
import { PacedStage } from './paced-stage.ts'
import { openWorld } from './pipeline-world.test.support.ts'
import { runList } from './run-list.ts'

const tf = loadTfjs()
/** Of a piece. */
const samples = 2
const pixels = 12
const width = 5
const steps = 4
const lr = 0.05
const frozenCosts = { ...unitCosts, frozen: [1, 0.5, 1] }

describe('frozen layers in the idle time of a pipeline', () => {
  const folder = temporaryFolder('skein-fill-')
  const worlds = new Map<number, OpenedGroup[]>()
  beforeAll(async () => {
    for (const ranks of [2, 3, 4]) {
      const own = path.join(folder.path, String(ranks))
      fs.mkdirSync(own)
      worlds.set(ranks, await openWorld(own, ranks, 32 << 20))
    }
  })
  afterAll(async () => {
    await Promise.all([...worlds.values()].flat().map(world => world.close()))
    folder[Symbol.dispose]()
  })

  /** What a rank needs for its messages, at a place of its own in the rank's memory. */
  function linksOf(
    schedule: Schedule,
    rank: number,
    stages: LayersPipeline['stages'] | Map<number, PacedStage>,
    part: FrozenPart,
  ) {
    const { group, arena } = (worlds.get(schedule.ranks) as OpenedGroup[])[rank] as OpenedGroup
    const own = { schedule, rank, messages: messagesOf(group), memory: arena.memory, groupRankOf: (one: number) => one }
    return {
      mailbox: new Mailbox({ ...own, stages, region: arena.alloc('messages', mailboxBytes(schedule, rank, stages)) }),
      fill:
        schedule.frozen === undefined
          ? undefined
          : new FillExchange({ ...own, part, region: arena.alloc('frozen', fillBytes(schedule, rank, part)) }),
    }
  }

  /** Steps of gradient descent on a rank. Without fills, what the encoder makes is there before the step. */
  async function train(schedule: Schedule, rank: number, cuts: number) {
    const stages = stagesOfPart(schedule, rank)
    const model = new LayersPipeline({
      tf,
      model: decoder(tf, schedule.stages),
      loss: ({ tf: t, output, arrays }) => t.losses.meanSquaredError(arrays['targets'] as never, output),
      samples: samples * cuts,
      stages,
      cuts: Array.from({ length: schedule.stages }, () => 1),
    })
    const part = new FrozenLayers({ tf, model: encoder(tf), samples, input: 'pixels' })
    const { mailbox, fill } = linksOf(schedule, rank, model.stages, part)
    const params = new Float32Array(model.layout.totalElems)
    const gradients = new Float32Array(params.length)
    model.initialise(params)
    const context = { rank, stages: model.stages, mailbox, fill, clock: systemClock, check: () => undefined }
    const losses: number[] = []
    const encoded: number[][] = []
    const { microbatches } = schedule
    const samplesOf = (step: number) => (piece: number) => pieceOf((step - 1) * microbatches * cuts + piece)
    part.begin(samplesOf(1))
    if (fill !== undefined) await runList({ ...context, schedule: fillsAlone(schedule) }, 0)
    for (let step = 1; step <= steps; step++) {
      gradients.fill(0)
      part.begin(samplesOf(step + 1))
      const batches = new Map<number, Batch>()
      const batch = (microbatch: number): Batch => {
        const known = batches.get(microbatch)
        if (known !== undefined) return known
        const first = ((step - 1) * microbatches + microbatch) * cuts
        const pieces = Array.from({ length: cuts }, (_, cut) => pieceOf(first + cut))
        const targets = Float32Array.from(pieces.flatMap(({ arrays }) => [...(arrays['targets']?.data ?? [])]))
        const arrays: Record<string, Batch['arrays'][string]> = {
          targets: { data: targets, shape: [samples * cuts, 1] },
        }
        if (stages.includes(0)) {
          const data = fill?.values(step, microbatch).slice() ?? encodedFirst(pieces)
          arrays['inputs'] = { data, shape: [samples * cuts, width] }
          encoded.push([step, microbatch, ...data])
        }
        const made = { samples: samples * cuts, arrays }
        batches.set(microbatch, made)
        return made
      }
      for (const stage of model.stages.values()) stage.begin({ batch, params, gradients })
      await runList({ ...context, schedule }, step)
      losses.push([...model.stages.values()].reduce((sum, stage) => sum + stage.loss().lossSum, 0))
      for (let i = 0; i < params.length; i++) params[i] = (params[i] as number) - lr * (gradients[i] as number)
    }
    expect(part.heldBytes()).toBe(0)
    model.dispose()
    part.dispose()
    return {
      losses,
      params: params.slice(),
      encoded: encoded.toSorted((a, b) => (a[0] as number) - (b[0] as number) || (a[1] as number) - (b[1] as number)),
    }
  }

  const trainAll = (schedule: Schedule, cuts: number) =>
    Promise.all(Array.from({ length: schedule.ranks }, (_, rank) => train(schedule, rank, cuts)))

  for (const [name, ranks, cuts] of [
    ['1f1b', 2, 1],
    ['gpipe', 3, 3],
    ['1f1b', 4, 2],
    ['zb-h1', 4, 1],
    ['zb-v', 3, 2],
    ['interleaved', 2, 2],
  ] as const) {
    it(`${name} on ${ranks} ranks, ${cuts} pieces a microbatch: what is encoded and learned is that of an encoder that runs first`, async () => {
      const before = tf.memory().numTensors
      const plain = generateSchedule(name, { ranks, microbatches: 6 })
      const filled = withFill(plain, frozenCosts, cuts)
      const makers = filled.ops.filter(list => list.some(({ op }) => op === 'fill')).length
      expect(makers).toBe(ranks)
      const [truth, found] = [await trainAll(lower(plain), cuts), await trainAll(lower(filled), cuts)]
      const taken = found[takerOf(filled, 0)]?.encoded ?? []
      expect(taken).toHaveLength(steps * 6)
      // The same samples in the same pieces: the same bits.
      for (const [rank, own] of found.entries()) expect(own).toEqual(truth[rank])
      expect(found.flatMap(({ losses }) => losses).filter(loss => loss > 0)).toHaveLength(steps)
      // A whole batch at once is added up in another order.
      const whole = Array.from({ length: 6 * cuts }, (_, piece) => pieceOf(piece))
      const values = Float32Array.from(taken.slice(0, 6).flatMap(([, , ...rest]) => rest))
      expect(relativeL2(values, encodedAtOnce(whole))).toBeLessThan(1e-6)
      expect(tf.memory().numTensors).toBe(before)
    })
  }

  it('every schedule gives every piece of every step to the rank that takes it, from any other', async () => {
    for (const name of ['gpipe', '1f1b', 'breadth-first', 'zb-h2', 'v-half', 'hanayo', 'bitpipe', 'zeropp', 'sppo']) {
      const plain = generateSchedule(name, { ranks: 4, microbatches: 8 })
      const filled = withFill(plain, frozenCosts, 2)
      for (const schedule of [lower(filled), lower(withPostValidation(filled))]) {
        const isValidated = schedule.updates === 'validated'
        await Promise.all(
          Array.from({ length: 4 }, async (_, rank) => {
            const stages = pacedStages(schedule, rank)
            const part = numbered()
            const { mailbox, fill } = linksOf(schedule, rank, stages, part)
            const beginAgain = () => begin(stages)
            const verdict = (step: number) => () => Promise.resolve(step % 2 === 0)
            const context = { rank, stages, mailbox, fill, clock: systemClock, check: () => undefined }
            part.begin(() => nothing)
            await runList({ ...context, schedule: fillsAlone(schedule) }, 0)
            for (let step = 1; step <= 4; step++) {
              begin(stages)
              part.begin(() => nothing)
              const validation = isValidated ? { verdict: verdict(step), beginAgain } : undefined
              await runList({ ...context, schedule, validation }, step)
              for (let microbatch = 0; microbatch < 8; microbatch++) {
                const pieces = piecesOf(schedule, microbatch)
                if (takerOf(schedule, pieces[0] as number) !== rank) continue
                // What was made in the step before.
                expect([...(fill?.values(step, microbatch) ?? [])]).toEqual(pieces.flatMap(one => [step, one, one]))
              }
            }
          }),
        )
      }
    }
  })

  it('who waits for what a rank was to encode learns that it has given up', async () => {
    const own = path.join(folder.path, 'abort')
    fs.mkdirSync(own)
    const world = await openWorld(own, 2)
    const schedule = lower(withFill(generateSchedule('1f1b', { ranks: 2, microbatches: 4 }), frozenCosts))
    const ends = await Promise.all(
      world.map(async ({ group, arena }, rank) => {
        const stages = pacedStages(schedule, rank)
        const part = numbered()
        const parts = {
          schedule,
          rank,
          messages: messagesOf(group),
          memory: arena.memory,
          groupRankOf: (one: number) => one,
        }
        const region = (bytes: number) => arena.alloc('messages', bytes)
        const mailbox = new Mailbox({ ...parts, stages, region: region(mailboxBytes(schedule, rank, stages)) })
        const fill = new FillExchange({ ...parts, part, region: region(fillBytes(schedule, rank, part)) })
        const check = () => {
          if (rank === 0) return
          const error = new SkeinError(CoreErrors.ABORTED, { what: 'rank 1 gives up', todo: 'nothing: a test' })
          group.abort(error)
          throw error
        }
        const context = { rank, stages, mailbox, fill, clock: systemClock, check }
        begin(stages)
        try {
          await runList({ ...context, schedule: fillsAlone(schedule) }, 0)
          await runList({ ...context, schedule }, 1)
          return undefined
        } catch (error) {
          return error
        }
      }),
    )
    for (const error of ends) expect(error).toBeInstanceOf(SkeinError)
    await Promise.all(world.map(opened => opened.close()))
  })

  it('refuses memory that is too small, lists without layers to run, and layers out of turn', async () => {
    const schedule = lower(withFill(generateSchedule('1f1b', { ranks: 2, microbatches: 4 }), frozenCosts))
    const part = numbered()
    const { group, arena } = (worlds.get(2) as OpenedGroup[])[0] as OpenedGroup
    const bytes = fillBytes(schedule, 0, part)
    const region = { byteOffset: 4096, bytes: bytes - 1 }
    const own = { schedule, rank: 0, part, messages: messagesOf(group), memory: arena.memory }
    expect(() => new FillExchange({ ...own, groupRankOf: one => one, region })).toThrow(
      expect.objectContaining({ code: 'SKEIN_PARALLEL_MESSAGE_MEMORY' }),
    )
    const stages = pacedStages(schedule, 0)
    const { mailbox } = linksOf(schedule, 0, stages, part)
    const context = {
      schedule: fillsAlone(schedule),
      rank: 0,
      stages,
      mailbox,
      clock: systemClock,
      check: () => undefined,
    }
    await expect(runList(context, 1)).rejects.toMatchObject({ code: 'SKEIN_PARALLEL_NOT_EXECUTED' })
    const layers = new FrozenLayers({ tf, model: encoder(tf), samples, input: 'pixels' })
    layers.begin(pieceOf)
    expect(() => layers.run(1, 0)).toThrow(expect.objectContaining({ code: 'SKEIN_MODEL_STAGE_ORDER' }))
    layers.dispose()
  })
})

/** What it makes of a piece: how many steps have begun, and twice its number. */
function numbered(): FrozenPart {
  const paced = new PacedFrozen({ costs: [0, 0, 0], outputElems: 3, during: (_, work) => work() })
  let begun = 0
  return {
    outputElems: 3,
    begin: () => void begun++,
    run: (layer, piece): StageTensor | undefined => {
      const made = paced.run(layer, piece)
      const step = begun
      return made && { ...made, copyTo: out => (made.copyTo(out), void (out[0] = step)) }
    },
    heldBytes: () => 0,
    reset: () => undefined,
  }
}

const nothing: Batch = { samples: 1, arrays: {} }

function begin(stages: ReadonlyMap<number, PacedStage>): void {
  for (const stage of stages.values()) {
    stage.begin({ batch: () => nothing, params: new Float32Array(), gradients: new Float32Array() })
  }
}

function pacedStages(schedule: Schedule, rank: number) {
  const costs = { forward: 0, inputGrad: 0, weightGrad: 0 }
  return new Map(
    stagesOfPart(schedule, rank).map(stage => [
      stage,
      new PacedStage({ stage, numStages: schedule.stages, costs, boundaryElems: 5, during: (_, work) => work() }),
    ]),
  )
}

/** The samples of a piece, among those of all steps. */
function pieceOf(piece: number): Batch {
  const random = seededRandom(13, piece)
  const data = Float32Array.from({ length: samples * pixels }, () => random.nextNormal())
  const targets = Float32Array.from({ length: samples }, (_, sample) => data[sample * pixels] as number)
  return {
    samples,
    arrays: { pixels: { data, shape: [samples, pixels] }, targets: { data: targets, shape: [samples, 1] } },
  }
}

function encoder(t: Tfjs) {
  const dense = (units: number, seed: number) =>
    t.layers.dense({ units, activation: 'tanh', kernelInitializer: t.initializers.glorotUniform({ seed }) })
  const first = t.layers.dense({
    units: 9,
    inputShape: [pixels],
    activation: 'tanh',
    kernelInitializer: t.initializers.glorotUniform({ seed: 1 }),
  })
  return t.sequential({ layers: [first, dense(7, 2), dense(width, 3)] })
}

/** One layer a stage; the last gives one number. */
function decoder(t: Tfjs, stages: number) {
  const layers = Array.from({ length: stages }, (_, stage) =>
    t.layers.dense({
      name: `layer${stage}`,
      units: stage === stages - 1 ? 1 : width,
      ...(stage === 0 ? { inputShape: [width] } : {}),
      activation: 'tanh',
      kernelInitializer: t.initializers.glorotUniform({ seed: 20 + stage }),
    }),
  )
  return t.sequential({ layers })
}

/** By the whole model, piece by piece. */
function encodedFirst(pieces: readonly Batch[]): Float32Array {
  return Float32Array.from(pieces.flatMap(piece => [...encodedAtOnce([piece])]))
}

function encodedAtOnce(pieces: readonly Batch[]): Float32Array {
  const model = encoder(tf)
  const data = Float32Array.from(pieces.flatMap(({ arrays }) => [...(arrays['pixels']?.data ?? [])]))
  const values = tf.tidy(() => {
    const output = model.predict(tf.tensor2d(data, [samples * pieces.length, pixels])) as { dataSync(): Float32Array }
    return output.dataSync().slice()
  })
  model.dispose()
  return values
}
