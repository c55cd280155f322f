import { messagesOf } from '@skein/collective'
import { seededRandom, systemClock } from '@skein/core'
import { type KernelDevice, openKernelDevice } from '@skein/device'
import { type Batch, Gpt2Pipeline, type PipelineModel, type StageTensor } from '@skein/model'
import { generateSchedule, lower, type Schedule, weightVersions } from '@skein/schedule'
import { relativeL2, temporaryFolder } from '@skein/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Mailbox, mailboxBytes } from './mailbox.ts'
import { openWorld } from './pipeline-world.test.support.ts'
import { runList } from './run-list.ts'
import { WeightStash } from './weight-stash.ts'

const config = { layers: 2, width: 8, heads: 2, context: 6, vocab: 24 }
const samples = 2
const cuts = [1, 1, 1, 1]
const lr = 0.5
const seed = 3

const batches = (microbatch: number): Batch => {
  const random = seededRandom(seed, microbatch)
  const inputs = Int32Array.from({ length: samples * config.context }, () => random.nextInt(config.vocab))
  const targets = inputs.map(token => (token * 5 + 3) % config.vocab)
  const shape = [samples, config.context]
  return { samples, arrays: { inputs: { data: inputs, shape }, targets: { data: targets, shape } } }
}

const gradientDescent = (gradients: Float32Array) => (from: Float32Array, to: Float32Array) => {
  for (let i = 0; i < from.length; i++) to[i] = (from[i] as number) - (lr / samples) * (gradients[i] as number)
  gradients.fill(0)
}

/** Schedules that learn something else than one process with the whole model, held against who does the same one thing after the other. */
describe('schedules that are no plain gradient descent', () => {
  let device: KernelDevice
  beforeAll(async () => {
    device = await openKernelDevice('cpu', { kernels: 'raw', threads: { intraOp: 1, interOp: 1 } })
  })
  afterAll(() => device.dispose())

  const modelOf = (stage: number) => new Gpt2Pipeline({ config, device, samples, stages: [stage], cuts })

  /** Each rank's list over sockets; the stages update where the list says so. */
  async function execute(schedule: Schedule) {
    using folder = temporaryFolder('skein-async-')
    const lowered = lower(schedule)
    const world = await openWorld(folder.path, schedule.ranks)
    try {
      return await Promise.all(
        world.map(async ({ group, arena }, rank) => {
          const model = modelOf(rank)
          const { totalElems } = model.layout
          const stash = new WeightStash(
            Array.from(
              { length: (weightVersions(schedule)[rank]?.stash ?? 1) + 1 },
              () => new Float32Array(totalElems),
            ),
          )
          model.initialise(stash.newest, seed)
          const gradients = new Float32Array(totalElems)
          const begin = () => {
            for (const stage of model.stages.values()) stage.begin({ batch: batches, params: stash.newest, gradients })
          }
          begin()
          const { stages } = model
          const region = arena.alloc('messages', mailboxBytes(lowered, rank, stages))
          const mailbox = new Mailbox({
            schedule: lowered,
            rank,
            stages,
            groupRankOf: part => part,
            messages: messagesOf(group),
            memory: arena.memory,
            region,
          })
          await runList(
            {
              schedule: lowered,
              rank,
              stages,
              mailbox,
              clock: systemClock,
              check: () => undefined,
              onUpdate: () => {
                if (schedule.updates !== 'microbatch') return
                stash.advance(gradientDescent(gradients))
                begin()
              },
            },
            1,
          )
          model.dispose()
          return { params: stash.newest, gradients }
        }),
      )
    } finally {
      await Promise.all(world.map(opened => opened.close()))
    }
  }

  /** Takes one microbatch forward along `path`, with the parameters of `paramsOf`, and back. */
  function forthAndBack(
    models: readonly PipelineModel[],
    microbatch: number,
    path: readonly number[],
    parts: { readonly paramsOf: (stage: number) => Float32Array; readonly gradients: readonly Float32Array[] },
  ) {
    const stageOf = (stage: number) =>
      models[stage]?.stages.get(stage) as NonNullable<ReturnType<PipelineModel['stages']['get']>>
    const piece = { microbatch, slice: 0 }
    let x: StageTensor | undefined
    for (const stage of path) {
      stageOf(stage).begin({
        batch: batches,
        params: parts.paramsOf(stage),
        gradients: parts.gradients[stage] as Float32Array,
      })
      x = stageOf(stage).forward(piece, x, 'activations')
    }
    let dy: StageTensor | undefined
    for (const stage of path.toReversed()) dy = stageOf(stage).backward(piece, dy)
  }

  it('pipedream updates as one process does that is late by its delays', async () => {
    for (const microbatches of [1, 3, 9]) {
      const schedule = generateSchedule('pipedream', { ranks: 4, microbatches })
      const done = await execute(schedule)
      const delays = weightVersions(schedule).map(rank => rank.delays)
      // Every version that ever was, by stage.
      const models = cuts.map((_, stage) => modelOf(stage))
      const versions = models.map(model => {
        const first = new Float32Array(model.layout.totalElems)
        model.initialise(first, seed)
        return [first]
      })
      const gradients = models.map(model => new Float32Array(model.layout.totalElems))
      for (let microbatch = 0; microbatch < microbatches; microbatch++) {
        const paramsOf = (stage: number) =>
          versions[stage]?.[microbatch - (delays[stage]?.[microbatch] ?? 0)] as Float32Array
        forthAndBack(models, microbatch, [0, 1, 2, 3], { paramsOf, gradients })
        for (const [stage, own] of versions.entries()) {
          const next = new Float32Array((own[0] as Float32Array).length)
          gradientDescent(gradients[stage] as Float32Array)(own.at(-1) as Float32Array, next)
          own.push(next)
        }
      }
      for (const [stage, own] of versions.entries()) {
        expect(done[stage]?.params).toEqual(own.at(-1))
        expect(own.at(-1)).not.toEqual(own[0])
      }
      // It is late, so it is not what one process without delays learns.
      if (microbatches === 9) expect(delays.map(([, second]) => second)).toEqual([1, 1, 1, 0])
      for (const model of models) model.dispose()
    }
  })

  it('skippipe makes the gradients of each microbatch along its own path', async () => {
    const schedule = generateSchedule('skippipe', { ranks: 4, microbatches: 7 })
    const done = await execute(schedule)
    const models = cuts.map((_, stage) => modelOf(stage))
    const params = models.map(model => {
      const first = new Float32Array(model.layout.totalElems)
      model.initialise(first, seed)
      return first
    })
    const gradients = models.map(model => new Float32Array(model.layout.totalElems))
    const paths = schedule.paths ?? []
    for (const [microbatch, path] of paths.entries()) {
      forthAndBack(models, microbatch, path, { paramsOf: stage => params[stage] as Float32Array, gradients })
    }
    expect(new Set(paths.map(path => path.join())).size).toBeGreaterThan(1)
    // Microbatches come to a stage in another order, so their sums differ in the last bits.
    for (const [stage, sum] of gradients.entries())
      expect(relativeL2(done[stage]?.gradients ?? [], sum)).toBeLessThan(1e-6)
    for (const model of models) model.dispose()
  })
})
