import fs from 'node:fs'
import path from 'node:path'
import { messagesOf } from '@skein/collective'
import type { OpenedGroup } from '@skein/collective/node'
import { CoreErrors, SkeinError, systemClock } from '@skein/core'
import {
  families,
  forwardSchedule,
  generateSchedule,
  lower,
  offloadActivations,
  recompute,
  type Schedule,
  shardWeights,
  usualCopyCosts,
  verdictAt,
  withPostValidation,
} from '@skein/schedule'
import type { Region } from '@skein/simd'
import { temporaryFolder } from '@skein/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Mailbox, mailboxBytes } from './mailbox.ts'
import { stagesOfPart } from './mesh.ts'
import { PacedStage } from './paced-stage.ts'
import { openWorld } from './pipeline-world.test.support.ts'
import { type ListReport, runList } from './run-list.ts'

const boundaryElems = 5
const activationBytes = 1000

describe('the executor of lists', () => {
  const worlds = new Map<number, OpenedGroup[]>()
  const folder = temporaryFolder('skein-parallel-')

  beforeAll(async () => {
    for (const ranks of [2, 3, 4]) {
      const own = path.join(folder.path, String(ranks))
      fs.mkdirSync(own)
      worlds.set(ranks, await openWorld(own, ranks))
    }
  })
  afterAll(async () => {
    await Promise.all([...worlds.values()].flat().map(world => world.close()))
    folder[Symbol.dispose]()
  })

  /** Steps of a schedule, all ranks at once; what stages do takes no time. */
  async function run(
    schedule: Schedule,
    steps: number,
    { isEvaluation = false, stands }: { readonly isEvaluation?: boolean; stands?: (step: number) => boolean } = {},
  ) {
    const world = worlds.get(schedule.ranks) as OpenedGroup[]
    return Promise.all(
      world.map(async (opened, rank) => {
        const stages = pacedStages(schedule, rank)
        const mailbox = mailboxOf(schedule, rank, stages, opened)
        const reports: ListReport[] = []
        let lossSum = 0
        for (let step = 1; step <= steps; step++) {
          const beginAgain = () => {
            for (const stage of stages.values()) {
              stage.begin({
                batch: () => ({ samples: 1, arrays: {} }),
                params: new Float32Array(),
                gradients: new Float32Array(),
              })
            }
          }
          beginAgain()
          const validation = stands && { verdict: () => Promise.resolve(stands(step)), beginAgain }
          const check = () => undefined
          const context = { schedule, rank, stages, mailbox, clock: systemClock, check, isEvaluation, validation }
          reports.push(await runList(context, step))
          for (const stage of stages.values()) lossSum += stage.loss().lossSum
        }
        return { reports, lossSum, held: [...stages.values()].reduce((sum, stage) => sum + stage.heldBytes(), 0) }
      }),
    )
  }

  for (const { name, slices } of families) {
    for (const ranks of [2, 3, 4]) {
      it(`${name} on ${ranks} ranks takes every microbatch through all of its stages, and holds what it promises`, async () => {
        const made = [2 * ranks, 2 * ranks + 1, 9, 1].flatMap(microbatches => {
          try {
            return [generateSchedule(name, { ranks, microbatches, ...(slices === true ? { slices: 3 } : {}) })]
          } catch {
            return []
          }
        })
        // These two have no schedule for so many ranks, and say why.
        if (!((name === 'skippipe' && ranks < 3) || (name === 'bitpipe' && ranks % 2 === 1))) {
          expect(made.length).toBeGreaterThan(0)
        }
        for (const one of made) {
          for (const schedule of [lower(one), lower(recompute(one), 0)]) {
            const steps = 3
            const done = await run(schedule, steps)
            // Each stage adds one, and the last sums what each microbatch comes with.
            const visits = Array.from({ length: one.microbatches }, (_, mb) => one.paths?.[mb]?.length ?? one.stages)
            const perStep = visits.reduce((sum, count) => sum + count, 0) * one.slices
            expect(done.reduce((sum, { lossSum }) => sum + lossSum, 0)).toBe(steps * perStep)
            for (const [rank, { reports, held }] of done.entries()) {
              expect(held).toBe(0)
              const perMicrobatch = (activationBytes * one.stages * one.slices) / one.ranks
              const promise = schedule.promise?.[rank]
              for (const { peakHeldBytes, ops } of reports) {
                const list = (schedule.ops[rank] ?? []).filter(op => !('peer' in op) && op.op !== 'update')
                expect(ops.map(({ op }) => op)).toEqual(list)
                if (promise !== undefined) expect(peakHeldBytes).toBeLessThanOrEqual(promise * perMicrobatch + 1e-6)
              }
            }
          }
        }
      })
    }
  }

  it('runs the forwards alone, and keeps nothing of them', async () => {
    const schedule = lower(forwardSchedule(generateSchedule('zb-v', { ranks: 3, microbatches: 7 }), 4))
    const done = await run(schedule, 2, { isEvaluation: true })
    expect(done.reduce((sum, { lossSum }) => sum + lossSum, 0)).toBe(2 * 4 * schedule.stages)
    for (const { reports, held } of done) {
      expect(held).toBe(0)
      for (const { peakHeldBytes } of reports) expect(peakHeldBytes).toBe(0)
    }
  })

  for (const name of ['1f1b', 'zb-h2', 'zb-v', 'interleaved', 'bitpipe', 'gpipe', 'sppo']) {
    it(`begins a step of ${name} again where an update was wrong, and nothing of the first attempt is left`, async () => {
      const one = withPostValidation(generateSchedule(name, { ranks: 4, microbatches: 8 }))
      for (const schedule of [lower(one), lower(one, 0), lower(recompute(one))]) {
        const steps = 6
        const done = await run(schedule, steps, { stands: step => step % 3 === 0 })
        const perStep = one.microbatches * one.stages * one.slices
        // Of the steps begun again the losses of the second attempt alone.
        expect(done.reduce((sum, { lossSum }) => sum + lossSum, 0)).toBe(steps * perStep)
        for (const [rank, { reports, held }] of done.entries()) {
          expect(held).toBe(0)
          const early = (schedule.ops[rank] ?? []).slice(0, verdictAt(schedule.ops[rank] ?? []))
          const forwards = (schedule.ops[rank] ?? []).filter(({ op }) => op === 'F').length
          const again = early.filter(({ op }) => op === 'F').length
          for (const [at, { ops }] of reports.entries()) {
            const wanted = (at + 1) % 3 === 0 ? forwards : forwards + again
            expect(ops.filter(({ op }) => op.op === 'F')).toHaveLength(wanted)
          }
        }
      }
    })
  }

  it('moves activations to the host and back where the list says so', async () => {
    const costs = { forward: 1, inputGrad: 1, weightGrad: 1, copy: 0.5 }
    const whole = generateSchedule('1f1b', { ranks: 4, microbatches: 9 })
    const schedule = lower(offloadActivations(whole, costs))
    const [first] = await run(schedule, 2)
    const [there] = await run(lower(whole), 2)
    const peakOf = (one: typeof first) => Math.max(...(one?.reports.map(({ peakHeldBytes }) => peakHeldBytes) ?? []))
    expect(peakOf(first)).toBeLessThan(peakOf(there))
  })

  it('moves what a forward run again reads to the host and back, and holds no more than without', async () => {
    const dropped = recompute(generateSchedule('1f1b', { ranks: 4, microbatches: 9 }))
    const schedule = lower(offloadActivations(dropped, usualCopyCosts))
    for (const { reports, held } of await run(schedule, 2)) {
      expect(held).toBe(0)
      // The piece that is made again, and no other.
      for (const { peakHeldBytes } of reports) expect(peakHeldBytes).toBe(activationBytes)
    }
  })

  it('refuses memory that is too small, with both sizes', () => {
    const { schedule, stages, world } = smallOne()
    const bytes = mailboxBytes(schedule, 0, stages)
    const region = { byteOffset: 4096, bytes: bytes - 64 }
    expect(() => mailboxOf(schedule, 0, stages, world[0] as OpenedGroup, region)).toThrow(
      expect.objectContaining({
        code: 'SKEIN_PARALLEL_MESSAGE_MEMORY',
        details: expect.objectContaining({ wanted: bytes, bytes: bytes - 64 }),
      }),
    )
  })

  it('names the op that it cannot run', async () => {
    const { schedule, stages, world } = smallOne()
    const sharded = shardWeights(schedule)
    const mailbox = mailboxOf(sharded, 0, stages, world[0] as OpenedGroup)
    const context = { schedule: sharded, rank: 0, stages, mailbox, clock: systemClock, check: () => undefined }
    await expect(runList(context, 1)).rejects.toMatchObject({ code: 'SKEIN_PARALLEL_NOT_EXECUTED' })
  })

  it('ends a step that a rank gives up, on every rank, and keeps nothing of it', async () => {
    const own = path.join(folder.path, 'abort')
    fs.mkdirSync(own)
    const world = await openWorld(own, 3)
    const schedule = lower(generateSchedule('zb-h1', { ranks: 3, microbatches: 7 }))
    const ends = await Promise.all(
      world.map(async (opened, rank) => {
        const stages = pacedStages(schedule, rank)
        const mailbox = mailboxOf(schedule, rank, stages, opened)
        let left = 9
        const check = () => {
          if (rank !== 1 || left-- > 0) return
          const error = new SkeinError(CoreErrors.ABORTED, { what: 'rank 1 gives up', todo: 'nothing: a test' })
          opened.group.abort(error)
          throw error
        }
        const context = { schedule, rank, stages, mailbox, clock: systemClock, check }
        const error: unknown = await runList(context, 1).catch((thrown: unknown) => thrown)
        return { error, held: [...stages.values()].reduce((sum, stage) => sum + stage.heldBytes(), 0) }
      }),
    )
    for (const { error, held } of ends) {
      expect(error).toBeInstanceOf(SkeinError)
      expect(held).toBe(0)
    }
    await Promise.all(world.map(opened => opened.close()))
  })

  function smallOne() {
    const schedule = lower(generateSchedule('1f1b', { ranks: 2, microbatches: 3 }))
    return { schedule, stages: pacedStages(schedule, 0), world: worlds.get(2) as OpenedGroup[] }
  }
})

/** Stages that take no time. */
function pacedStages(schedule: Schedule, rank: number) {
  return new Map(
    stagesOfPart(schedule, rank).map(stage => [
      stage,
      new PacedStage({
        stage,
        numStages: schedule.stages,
        costs: { forward: 0, inputGrad: 0, weightGrad: 0 },
        boundaryElems,
        activationBytes,
        during: (_, work) => work(),
      }),
    ]),
  )
}

function mailboxOf(
  schedule: Schedule,
  rank: number,
  stages: ReadonlyMap<number, PacedStage>,
  { group, arena }: OpenedGroup,
  region: Region = arena.alloc('messages', mailboxBytes(schedule, rank, stages)),
) {
  return new Mailbox({
    schedule,
    rank,
    stages,
    groupRankOf: part => part,
    messages: messagesOf(group),
    memory: arena.memory,
    region,
  })
}
