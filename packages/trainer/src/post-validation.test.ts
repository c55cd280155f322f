import { systemClock } from '@skein/core'
import { type KernelDevice, openKernelDevice } from '@skein/device'
import type { PipelineStage } from '@skein/model'
import type { PipelineMesh } from '@skein/parallel'
import { generateSchedule, type Schedule, withPostValidation } from '@skein/schedule'
import { createSimd } from '@skein/simd'
import { relativeL2, temporaryFolder } from '@skein/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { applyUpdate, clipOf, nonFinite } from './apply-update.ts'
import { type MeshRank, namedTensors, openMesh, textLike } from './pipeline-mesh.test.support.ts'
import { PipelineParallel } from './pipeline-parallel.ts'
import { type SettledStep, UpdatesInDoubt } from './updates-in-doubt.ts'

const shape = { width: 8, heads: 2, context: 6, vocab: 25 }
const steps = 10
const micro = 2
const seed = 11
const optimizer = { lr: 0.01, beta1: 0.9, beta2: 0.99, eps: 1e-6, weightDecay: 0.1 }

/** `SKEIN_LONG=1`: every schedule on every mesh, and not one on each. */
const isLong = process.env['SKEIN_LONG'] === '1'

/** A unit for each stage. */
const configFor = ({ stages }: Schedule) => ({ ...shape, layers: Math.max(2, stages - 2) })

interface Trained {
  readonly part: number
  readonly settled: readonly SettledStep[]
  readonly heldOut: number
  readonly params: ReadonlyMap<string, Float32Array>
  /** Forwards that the rank did in all steps. */
  readonly forwards: number
}

interface Case {
  readonly mesh: PipelineMesh
  readonly schedule: Schedule
  readonly clipNorm: number
  /** A weight gradient of this part is infinite in this step. */
  readonly infinite?: { readonly step: number; readonly part: number }
  /** What regularisers add to the loss sum of each stage but the last, in each replica. */
  readonly penalty?: number
}

/** When an update is made: at once, and validated afterwards; when its global state is known; or as in jobs, by an all-reduce. */
type Way = 'in doubt' | 'in order' | 'plain'

describe('updates that are validated afterwards', () => {
  const folder = temporaryFolder('skein-validated-')
  let device: KernelDevice
  beforeAll(async () => {
    device = await openKernelDevice('cpu', { kernels: 'raw', threads: { intraOp: 1, interOp: 1 } })
  })
  afterAll(() => {
    device.dispose()
    folder[Symbol.dispose]()
  })

  async function train(way: Way, one: Case): Promise<Trained[]> {
    const { mesh } = one
    const schedule = way === 'plain' ? one.schedule : withPostValidation(one.schedule)
    const config = configFor(schedule)
    const sizes = { globalBatch: mesh.dp * schedule.microbatches * micro, numHeldOut: 4 * micro, seed }
    const dataset = await textLike(config, sizes)
    const opened = await openMesh({ folder: folder.path, device, config, mesh, schedule, micro, seed })
    try {
      return await Promise.all(opened.ranks.map(own => trainRank(way, one, { own, schedule, dataset, sizes })))
    } finally {
      await opened.close()
    }
  }

  async function trainRank(
    way: Way,
    { mesh, clipNorm, infinite, penalty = 0 }: Case,
    world: {
      readonly own: MeshRank
      readonly schedule: Schedule
      readonly dataset: Awaited<ReturnType<typeof textLike>>
      readonly sizes: { readonly globalBatch: number; readonly numHeldOut: number }
    },
  ): Promise<Trained> {
    const { own, schedule, dataset, sizes } = world
    const { state, model, part } = own
    const simd = createSimd(own.memory)
    const updates = new UpdatesInDoubt(simd, state)
    const settled: SettledStep[] = []
    let step = 0
    let forwards = 0
    const update = () => ({ ...optimizer, clipNorm, step })
    const settle = (truth: Parameters<UpdatesInDoubt['settle']>[0]) => {
      const verdict = updates.settle(truth)
      settled.push(verdict.settled)
      return verdict.stands
    }
    const isInfinite = () => infinite?.step === step && infinite.part === part
    const strategy = new PipelineParallel({
      ...own,
      model: {
        numStages: model.numStages,
        layout: model.layout,
        stages: new Map(
          [...model.stages].map(([at, stage]) => [at, poisoned(penalised(stage, own, penalty), own, isInfinite)]),
        ),
        stagesOf: name => model.stagesOf(name),
        initialise: (params, from) => model.initialise(params, from),
        initialIsRandom: model.initialIsRandom,
        dispose: () => model.dispose(),
      },
      mesh,
      schedule,
      dataset,
      simd,
      clock: systemClock,
      batch: { global: sizes.globalBatch, micro },
      check: () => undefined,
      liveTensors: () => device.ledger().liveTensors,
      ...(way === 'in doubt' ? { onVerdict: settle } : {}),
      ...(way === 'in order'
        ? {
            onVerdict: truth => {
              updates.make(update(), truth, truth.samples)
              return settle({ ...truth, firstSquares: truth.sumSquares })
            },
          }
        : {}),
      onTimeline: (_, { ops }) => {
        forwards += ops.filter(({ op }) => op.op === 'F').length
      },
    })
    for (step = 1; step <= steps; step++) {
      const known = await strategy.gradients(step)
      if (way === 'in doubt') updates.make(update(), known, sizes.globalBatch)
      else if (way === 'in order') await strategy.settle()
      else {
        const gradNorm = applyUpdate(simd, state, { ...update(), ...known })
        settled.push({ step, loss: known.lossSum / known.samples, gradNorm, isRedone: false, isSkipped: false })
      }
    }
    step = 0
    await strategy.settle()
    expect(state.step()).toBe(steps)
    const heldOut = await strategy.evaluate(sizes.numHeldOut)
    return { part, settled, heldOut, params: namedTensors(model.layout, state.params()), forwards }
  }

  const forwardsOf = (schedule: Schedule, part: number) =>
    (schedule.ops[part] ?? []).filter(({ op }) => op === 'F').length

  /** In doubt equals in order, to the bit; says how many steps were begun again, and how many updates made again. */
  async function expectSame(one: Case) {
    const before = device.ledger().liveTensors
    const [truth, found] = [await train('in order', one), await train('in doubt', one)]
    const last = one.mesh.pp - 1
    const begunAgain = new Set<number>()
    for (const [rank, { part, settled, heldOut, params, forwards }] of found.entries()) {
      const same = truth[rank] as Trained
      expect(settled.map(({ isRedone: _, ...rest }) => rest)).toEqual(
        same.settled.map(({ isRedone: _, ...rest }) => rest),
      )
      expect(heldOut).toBe(same.heldOut)
      expect(params).toEqual(same.params)
      // Who knows all is never wrong.
      if (part === last) expect(settled.some(({ isRedone }) => isRedone)).toBe(false)
      const extra = forwards - same.forwards
      const early = withPostValidation(one.schedule).ops[part]?.findIndex(({ op }) => op === 'validate') as number
      expect(same.forwards).toBe(steps * forwardsOf(one.schedule, part))
      expect(extra % early).toBe(0)
      begunAgain.add(extra / early)
    }
    expect(begunAgain.size, 'all ranks begin the same steps again').toBe(1)
    expect(device.ledger().liveTensors).toBe(before)
    const redone = found[0]?.settled.filter(({ isRedone }) => isRedone).length ?? 0
    return { found, truth, redone, begunAgain: [...begunAgain][0] as number }
  }

  const names = ['zb-h2', '1f1b', 'zb-h1']
  for (const [index, pp] of [2, 3, 4].entries()) {
    for (const dp of [1, 2]) {
      const mesh: PipelineMesh = { dp, pp }
      for (const name of isLong ? names : names.slice((index + dp) % 3).slice(0, 1)) {
        const schedule = generateSchedule(name, { ranks: pp, microbatches: 7 })
        it(`${name} on ${dp} × ${pp}: a norm that is never, sometimes and always over the bound`, async () => {
          const never = await expectSame({ mesh, schedule, clipNorm: 0 })
          expect(never).toMatchObject({ redone: 0, begunAgain: 0 })
          const norms = never.found[0]?.settled.map(({ gradNorm }) => gradNorm) ?? []
          const middle = norms.toSorted((a, b) => a - b)[steps >> 1] as number
          const sometimes = await expectSame({ mesh, schedule, clipNorm: middle })
          const over = sometimes.truth[0]?.settled.filter(({ gradNorm }) => gradNorm > middle).length ?? 0
          expect(over).toBeGreaterThan(0)
          expect(over).toBeLessThan(steps)
          expect(sometimes.redone).toBe(over)
          const always = await expectSame({ mesh, schedule, clipNorm: middle / 100 })
          // The last step has none after it that could have begun.
          expect(always).toMatchObject({ redone: steps, begunAgain: steps - 1 })
        })
        if (!isLong && dp === 2 && pp > 2) continue
        it(`${name} on ${dp} × ${pp}: a step that is not finite is skipped, whichever part it is found on`, async () => {
          for (const part of [0, pp - 1]) {
            const one = { mesh, schedule, clipNorm: 1e3, infinite: { step: 5, part } }
            const { redone, begunAgain, found } = await expectSame(one)
            // What the first rank finds all know in time.
            const wrong = part === 0 ? 0 : 1
            expect({ redone, begunAgain }).toEqual({ redone: wrong, begunAgain: wrong })
            expect(found[0]?.settled.filter(({ isSkipped }) => isSkipped).map(({ step }) => step)).toEqual([5])
          }
        })
      }
    }
  }

  for (const name of ['zb-v', 'bitpipe', ...(isLong ? ['interleaved', 'breadth-first'] : [])]) {
    it(`${name}, whose stages lie otherwise, with a norm always over the bound`, async () => {
      const schedule = generateSchedule(name, { ranks: 4, microbatches: 8 })
      const { redone } = await expectSame({ mesh: { dp: 1, pp: 4 }, schedule, clipNorm: 0.01 })
      expect(redone).toBe(steps)
    })
  }

  it('learns what jobs learn, but for the order in which squares are added', async () => {
    const one: Case = {
      mesh: { dp: 2, pp: 3 },
      schedule: generateSchedule('zb-h1', { ranks: 3, microbatches: 5 }),
      clipNorm: 0.5,
      penalty: 30,
    }
    const [plain, found] = [await train('plain', one), await train('in doubt', one)]
    for (const [rank, { params, settled }] of found.entries()) {
      for (const [name, values] of params) {
        expect(relativeL2(values, plain[rank]?.params.get(name) ?? []), name).toBeLessThan(1e-5)
      }
      for (const [at, { loss }] of settled.entries()) {
        expect(Math.abs(loss / (plain[rank]?.settled[at]?.loss ?? 0) - 1)).toBeLessThan(1e-5)
      }
    }
  })

  it('while an update is in doubt the state holds no such step, and the step before is still there', async () => {
    const schedule = withPostValidation(generateSchedule('1f1b', { ranks: 2, microbatches: 3 }))
    const mesh = { dp: 1, pp: 2 }
    const config = configFor(schedule)
    const opened = await openMesh({ folder: folder.path, device, config, mesh, schedule, micro, seed })
    try {
      const { state, memory } = opened.ranks[0] as MeshRank
      const before = state.params().slice()
      state.gradientView().fill(1)
      const updates = new UpdatesInDoubt(createSimd(memory), state)
      updates.make({ ...optimizer, clipNorm: 1, step: 1 }, { sumSquares: 1 }, 4)
      expect(state.step()).toBeUndefined()
      expect(state.params()).not.toEqual(before)
      expect(state.goBackTo(1)).toBe(false)
      expect(state.goBackTo(0)).toBe(true)
      expect(state.params()).toEqual(before)
    } finally {
      await opened.close()
    }
  })

  it('refuses a validated schedule where nobody validates, and the other way round', async () => {
    const plain = generateSchedule('1f1b', { ranks: 2, microbatches: 3 })
    const mesh = { dp: 1, pp: 2 }
    const globalBatch = 3 * micro
    const config = configFor(plain)
    const opened = await openMesh({ folder: folder.path, device, config, mesh, schedule: plain, micro, seed })
    try {
      const own = opened.ranks[0] as MeshRank
      const dataset = await textLike(config, { globalBatch, numHeldOut: 4, seed })
      const parts = { ...own, mesh, dataset, simd: createSimd(own.memory), clock: systemClock }
      const rest = { batch: { global: globalBatch, micro }, check: () => undefined, liveTensors: () => 0 }
      const code = expect.objectContaining({ code: 'SKEIN_TRAINER_NOT_VALIDATED' })
      const validated = withPostValidation(plain)
      expect(() => new PipelineParallel({ ...parts, ...rest, schedule: validated })).toThrow(code)
      expect(() => new PipelineParallel({ ...parts, ...rest, schedule: plain, onVerdict: () => true })).toThrow(code)
    } finally {
      await opened.close()
    }
  })
})

describe('how much a gradient is clipped', () => {
  it('does not rise where more squares are added, and is nothing where they are not finite', () => {
    const of = (sumSquares: number) => clipOf({ sumSquares, samples: 2, clipNorm: 1 })
    const clips = [0, 1, 3.9999, 4, 4.0001, 100, 1e300, Number.POSITIVE_INFINITY].map(of)
    expect(clips).toEqual(clips.toSorted((a, b) => b - a))
    expect(clips.slice(0, 4)).toEqual([1, 1, 1, 1])
    expect(of(100)).toBe(0.2)
    expect([of(Number.POSITIVE_INFINITY), of(Number.NaN)]).toEqual([0, 0])
    expect(clipOf({ sumSquares: 100, samples: 2, clipNorm: 0 })).toBe(1)
    expect(nonFinite({ step: 3, lr: 0.1 }).code).toBe('SKEIN_TRAINER_NONFINITE')
  })
})

/** The stage as one whose layers have regularisers. */
function penalised(stage: PipelineStage, { model }: MeshRank, penalty: number): PipelineStage {
  const isLast = stage.stage === model.numStages - 1
  return new Proxy(stage, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      if (name !== 'loss' || isLast) return value.bind(target)
      return () => ({ lossSum: penalty, samples: 0 })
    },
  })
}

/** The stage, one of whose weight gradients is infinite while `isInfinite`. */
function poisoned(stage: PipelineStage, { state, model }: MeshRank, isInfinite: () => boolean): PipelineStage {
  const at = model.layout.buckets.find(({ segment }) => segment === stage.stage)?.offset as number
  return new Proxy(stage, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      if (name !== 'weightGrad' && name !== 'backward') return value.bind(target)
      return (...args: unknown[]) => {
        const result: unknown = value.apply(target, args)
        if (isInfinite()) state.gradientView()[at] = Number.POSITIVE_INFINITY
        return result
      }
    },
  })
}
