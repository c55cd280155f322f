import { MessageChannel } from 'node:worker_threads'
import { type Clock, deferred } from '@skein/core'
import { customDataset, openCustomDataset } from '@skein/data'
import type { ResolvedJob } from '@skein/job'
import { flatLayout, type TrainableModel } from '@skein/model'
import { createSharedMemory, createSimd, type Region, SharedArena } from '@skein/simd'
import { maxAbsDifference } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { DataParallel } from './data-parallel.ts'
import type { EvaluationReport, Peers, StepReport } from './peers.ts'
import { shareOf } from './share.ts'
import { type MirrorSink, trainLoop } from './train-loop.ts'
import { createTrainingState, type TrainingState, trainingStateBytes } from './training-state.ts'

const width = 20
const clock: Clock = { now: () => 0 }

/** y = w·x + b with squared error, its gradients written out: small enough to check by hand, real enough to train. */
function linearModel(): TrainableModel {
  const layout = flatLayout([
    { name: 'w', shape: [width], decay: true, segment: 1 },
    { name: 'b', shape: [1], decay: false, segment: 0 },
  ])
  const pass = (batch: Parameters<TrainableModel['evaluate']>[0], params: Float32Array, grads?: Float32Array) => {
    const x = batch.arrays['x']?.data as Float32Array
    const y = batch.arrays['y']?.data as Float32Array
    let lossSum = 0
    for (let s = 0; s < batch.samples; s++) {
      let error = (params[32] as number) - (y[s] as number)
      for (let i = 0; i < width; i++) error += (params[i] as number) * (x[s * width + i] as number)
      lossSum += error * error
      if (grads === undefined) continue
      for (let i = 0; i < width; i++) grads[i] = (grads[i] as number) + 2 * error * (x[s * width + i] as number)
      grads[32] = (grads[32] as number) + 2 * error
    }
    return { lossSum, samples: batch.samples }
  }
  return {
    layout,
    initialIsRandom: false,
    initialise: params => params.fill(0),
    dispose: () => undefined,
    trainMicrobatch(batch, params, grads, { accumulate, onBucket }) {
      if (!accumulate) grads.fill(0)
      const result = pass(batch, params, grads)
      onBucket?.(0)
      onBucket?.(1)
      return result
    },
    evaluate: (batch, params) => pass(batch, params),
    ledger: () => ({ liveTensors: 0, liveBytes: 0, peakBytes: 0, backendTensors: 0 }),
  }
}

const data = () =>
  openCustomDataset(
    customDataset({
      numSamples: 64,
      numValSamples: 8,
      sample(_split, index) {
        const x = Float32Array.from({ length: width }, (_, i) => Math.sin(1 + index * 7.1 + i * 3.3))
        const y = x.reduce((sum, value, i) => sum + value * (i % 3), 0.5)
        return { x: { data: x, shape: [width] }, y: { data: Float32Array.of(y), shape: [] } }
      },
      fingerprint: 'linear',
    }),
    { seed: 1, globalBatch: 8 },
  )

const job = {
  steps: 12,
  batch: { global: 8, micro: 2 },
  eval: { every: 4, samples: 8 },
  checkpoint: { every: 0 },
  optimizer: {
    kind: 'adamw',
    lr: 0.05,
    betas: [0.9, 0.99],
    eps: 1e-8,
    weightDecay: 0.1,
    clipNorm: 5,
    warmupSteps: 2,
    schedule: 'cosine',
    minLr: 0.001,
  },
} as unknown as ResolvedJob

interface Rank {
  readonly state: TrainingState
  readonly simd: ReturnType<typeof createSimd>
  readonly votes: StepReport[]
  readonly evaluations: EvaluationReport[]
}

/** N ranks in one process: a meeting point that sums in rank order, and commits a step when all have voted for one digest. */
function meetingPoint(
  worldSize: number,
  sharesAt: (step: number) => readonly number[] = () => Array.from({ length: worldSize }, () => 8 / worldSize),
) {
  const layout = linearModel().layout
  const ranks: Rank[] = Array.from({ length: worldSize }, () => {
    const arena = new SharedArena(createSharedMemory(trainingStateBytes(layout)))
    const state = createTrainingState(layout, arena)
    return { state, simd: createSimd(arena.memory), votes: [], evaluations: [] }
  })
  const ops: { regions: (Region | undefined)[]; done: ReturnType<typeof deferred<void>> }[] = []
  const commits: ReturnType<typeof deferred<void>>[] = []
  const digests = new Map<number, string[]>()
  const commitOf = (step: number) => (commits[step] ??= deferred<void>())
  const view = (rank: number, region: Region) =>
    new Float32Array((ranks[rank] as Rank).state.sharedBuffer, region.byteOffset, region.bytes / 4)
  let stopAfter: number | undefined
  let regroup: { readonly step: number; readonly saves: boolean } | undefined
  const peers = (rank: number): Peers => {
    let opSeq = 0
    return {
      rank,
      worldSize,
      generation: 1,
      shareAt: step => shareOf(sharesAt(step), rank),
      check: () => undefined,
      async allReduce(region) {
        const seq = opSeq++
        const op = (ops[seq] ??= { regions: [], done: deferred<void>() })
        op.regions[rank] = region
        if (op.regions.filter(r => r !== undefined).length === worldSize) {
          const views = op.regions.map((r, i) => view(i, r as Region))
          const sum = (views[0] as Float32Array).slice()
          for (const other of views.slice(1))
            for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] as number) + (other[i] as number)
          for (const each of views) each.set(sum)
          op.done.resolve()
        }
        await op.done.promise
        return { durMs: 0, bytesSent: 0 }
      },
      vote(report) {
        const me = ranks[rank] as Rank
        me.votes.push(report)
        const hash = me.simd.hash(report.params.byteOffset, report.params.bytes)
        const all = digests.get(report.step) ?? []
        digests.set(report.step, all)
        all.push(`${hash.hi}:${hash.lo}`)
        if (all.length === worldSize) commitOf(report.step).resolve()
      },
      committed: step => commitOf(step).promise,
      stopAfter: () => stopAfter,
      regroupAfter: () => regroup,
      evaluated: report => (ranks[rank] as Rank).evaluations.push(report),
    }
  }
  return {
    ranks,
    digests,
    stop: (step: number) => {
      stopAfter = step
    },
    regroup: (step: number) => {
      regroup = { step, saves: false }
    },
    async run(startStep = 0, onStep?: (step: number) => void, mirrorOf?: (rank: number) => MirrorSink) {
      return Promise.all(
        ranks.map(async ({ state, simd }, rank) => {
          const parts = { dataset: await data(), state, simd, peers: peers(rank), clock }
          return trainLoop({
            job,
            strategy: new DataParallel({ ...parts, model: linearModel(), batch: job.batch }),
            ...parts,
            startStep,
            ...(onStep === undefined ? {} : { onStep: result => onStep(result.step) }),
            ...(mirrorOf === undefined ? {} : { mirror: mirrorOf(rank) }),
          })
        }),
      )
    },
  }
}

describe('trainLoop', () => {
  it('ends with one digest a step on all ranks, each sample once, and the loss going down', async () => {
    const group = meetingPoint(4)
    await group.run()
    for (let step = 1; step <= 12; step++) expect(new Set(group.digests.get(step)).size).toBe(1)
    const votes = group.ranks[0]?.votes ?? []
    expect(votes.map(v => v.samples)).toEqual(Array.from({ length: 12 }, (_, i) => [i * 8, i * 8 + 8]))
    expect(votes.at(-1)?.loss).toBeLessThan((votes[0]?.loss ?? 0) / 4)
    expect(group.ranks[0]?.evaluations.map(e => [e.step, e.phase])).toEqual([
      [0, 'untrained'],
      [4, 'during'],
      [8, 'during'],
      [12, 'final'],
    ])
    expect(group.ranks[1]?.evaluations).toEqual([])
  })

  it('lets timers and other threads be heard at each step, also where no answer is waited for', async () => {
    const group = meetingPoint(1)
    const turns: number[] = []
    const { port1, port2 } = new MessageChannel()
    port2.on('message', (step: number) => turns.push(step))
    await group.run(0, step => port1.postMessage(step))
    port1.close()
    expect(turns).toEqual(Array.from({ length: 12 }, (_, i) => i + 1))
  })

  it('gives one rank and four the same parameters but for the order of sums', async () => {
    const one = meetingPoint(1)
    const four = meetingPoint(4)
    await one.run()
    await four.run()
    // 12 updates of float32 sums in another order: a few units in the last place of values below 4.
    expect(maxAbsDifference(four.ranks[0]?.state.params() ?? [], one.ranks[0]?.state.params() ?? [])).toBeLessThan(2e-5)
  })

  it('gives any shares the parameters of one rank, also where they change between steps and some rank takes nothing', async () => {
    const one = meetingPoint(1)
    const divisions = [
      [5, 2, 1],
      [0, 7, 1],
      [3, 3, 2],
    ]
    const three = meetingPoint(3, step => divisions[step % 3] as number[])
    await one.run()
    await three.run()
    expect(maxAbsDifference(three.ranks[0]?.state.params() ?? [], one.ranks[0]?.state.params() ?? [])).toBeLessThan(
      2e-5,
    )
    const losses = (group: typeof one) => group.ranks[0]?.votes.map(vote => vote.loss) ?? []
    expect(maxAbsDifference(losses(three), losses(one))).toBeLessThan(2e-5)
    for (const [i, { samples }] of (one.ranks[0]?.votes ?? []).entries()) {
      const parts = three.ranks.map(({ votes }) => votes[i]?.took ?? [0, 0])
      expect(parts.map(([from, to]) => to - from)).toEqual(divisions[(i + 1) % 3])
      expect(parts.map(([from]) => from)).toEqual([samples[0], ...parts.slice(0, -1).map(([, to]) => to)])
      expect(parts.at(-1)?.[1]).toBe(samples[1])
    }
  })

  it('stops after the step the coordinator names, on every rank, with a final evaluation', async () => {
    const group = meetingPoint(2)
    const outcomes = await group.run(0, step => {
      if (step === 3) group.stop(5)
    })
    expect(outcomes).toEqual([
      { lastStep: 5, end: 'stopped' },
      { lastStep: 5, end: 'stopped' },
    ])
    expect(group.ranks[0]?.evaluations.at(-1)).toMatchObject({ step: 5, phase: 'final' })
  })

  it('ends a generation after the step the coordinator names, committed and without a final evaluation', async () => {
    const group = meetingPoint(2)
    const outcomes = await group.run(0, step => {
      if (step === 3) group.regroup(5)
    })
    expect(outcomes).toEqual([
      { lastStep: 5, end: 'regrouped' },
      { lastStep: 5, end: 'regrouped' },
    ])
    expect(group.ranks[0]?.evaluations.map(e => e.phase)).toEqual(['untrained', 'during'])
    expect(group.ranks.map(({ state }) => state.step())).toEqual([5, 5])
  })

  it('mirrors the committed steps that the coordinator asks for, each before anything is written over it', async () => {
    const [mirrored, plain] = [meetingPoint(2), meetingPoint(2)]
    const asked = [3, 9]
    const taken: (readonly [number, number | undefined])[] = []
    await mirrored.run(0, undefined, rank => ({
      every: 3,
      isDue: step => asked.includes(step),
      take(step) {
        expect(mirrored.digests.get(step), 'all have voted for it').toHaveLength(2)
        if (rank === 1) taken.push([step, mirrored.ranks[1]?.state.step()])
      },
    }))
    await plain.run()
    expect(taken).toEqual([
      [3, 3],
      [9, 9],
    ])
    expect([...mirrored.digests]).toEqual([...plain.digests])
  })

  it('undoes one step, and makes it again with the same bits', async () => {
    const group = meetingPoint(1)
    const { state, votes } = group.ranks[0] as Rank
    await group.run(0, step => {
      if (step === 4) group.regroup(6)
    })
    const before = state.params().slice()
    expect(state.goBackTo(5)).toBe(true)
    expect(state.params()).not.toEqual(before)
    expect(state.goBackTo(6), 'what was undone is gone').toBe(false)
    expect(state.goBackTo(4), 'only one step can be undone').toBe(false)
    await group.run(5)
    expect(votes.at(-1)?.step).toBe(6)
    expect(state.params()).toEqual(before)
  })

  it('refuses a gradient that is not finite before anything is written', async () => {
    const group = meetingPoint(1)
    const state = group.ranks[0]?.state as TrainingState
    state.params().fill(Number.NaN)
    await expect(group.run()).rejects.toMatchObject({ code: 'SKEIN_TRAINER_NONFINITE' })
    expect(state.params()).toEqual(new Float32Array(48).fill(Number.NaN))
  })
})
