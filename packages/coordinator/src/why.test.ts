import fs from 'node:fs'
import path from 'node:path'
import { nullLogger } from '@skein/telemetry'
import { temporaryFolder } from '@skein/testkit'
import type { FlightOp } from '@skein/wire'
import { afterEach, expect, test } from 'vitest'
import { EventWatch } from './event-watch.test.support.ts'
import { FakeWorker } from './fake-worker.test.support.ts'
import { type RunningCoordinator, startCoordinator } from './start-coordinator.ts'
import type { RunStatus } from './status.ts'
import type { RunWhy } from './why.ts'

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close()
})

interface Rig {
  readonly coordinator: RunningCoordinator
  readonly runDir: string
  readonly workers: readonly FakeWorker[]
  readonly events: Promise<Record<string, unknown>[]>
}

/** A run of three workers that train. */
async function train(): Promise<Rig> {
  const folder = temporaryFolder('coordinator')
  open.push({ close: () => folder[Symbol.dispose]() })
  const job = { name: 'tiny', steps: 1000 }
  const coordinator = await startCoordinator({
    job,
    globalBatch: 8,
    numWorkers: 3,
    logger: nullLogger,
    runDir: folder.path,
    lingerMs: 200,
  })
  open.push(coordinator)
  const events = fetch(`${coordinator.url}/events`)
    .then(response => response.text())
    .then(text =>
      text
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line) as Record<string, unknown>),
    )
  const { url, token } = coordinator
  const workers = await Promise.all(['w0', 'w1', 'w2'].map(workerId => FakeWorker.join({ url, token, workerId })))
  open.push(...workers)
  await Promise.all(workers.map(worker => worker.prepare()))
  await Promise.all(workers.map(worker => worker.hears('start')))
  return { coordinator, runDir: folder.path, workers, events }
}

async function ask<T>({ coordinator }: Rig, path: string): Promise<T> {
  return (await fetch(`${coordinator.url}${path}`).then(response => response.json())) as T
}

/** Steps from `from` to `to`, in which each worker takes so long. */
async function steps({ workers }: Rig, from: number, to: number, computeMs: readonly number[]): Promise<void> {
  for (let step = from; step <= to; step++) {
    for (const [i, worker] of workers.entries()) await worker.vote(step, { computeMs: computeMs[i] as number })
    await workers[0]?.committed(step)
  }
}

const op = (opSeq: number, enteredAgoMs: number, facts: Partial<FlightOp> = {}): FlightOp => ({
  opSeq,
  channel: 0,
  name: 'ring all-reduce',
  elems: 1000,
  enteredAgoMs,
  outcome: 'running',
  bytesSent: 0,
  peers: [],
  ...facts,
})

/** Answers every question for a flight record, as a worker would, until its link ends. */
async function answer(worker: FakeWorker, ops: readonly FlightOp[]): Promise<void> {
  const answered = new Set<unknown>()
  for (;;) {
    const question = await worker.hears('report-flight', message => !answered.has(message))
    answered.add(question)
    await worker.send({ type: 'flight', generation: 1, cause: 'asked', computingMs: 3400, ops })
  }
}

function answers(worker: FakeWorker, ops: readonly FlightOp[]): void {
  answer(worker, ops).catch(() => undefined)
}

test('a worker that is slow for twenty steps is told in the events and marked in the status, until it is not', async () => {
  const rig = await train()
  // Of eight samples rank 0 has two, the others three.
  await steps(rig, 1, 19, [20, 30, 42])
  expect((await ask<RunStatus>(rig, '/status')).members.map(({ straggler }) => straggler)).toEqual([null, null, null])
  await steps(rig, 20, 20, [20, 30, 42])
  const { members } = await ask<RunStatus>(rig, '/status')
  expect(members.map(({ workerId, straggler }) => [workerId, straggler?.factor])).toEqual([
    ['w0', undefined],
    ['w1', undefined],
    ['w2', expect.closeTo(1.4) as number],
  ])
  const why = await ask<RunWhy>(rig, '/why')
  expect(why.causes.find(({ cause }) => cause === 'straggler')).toMatchObject({ workerId: 'w2' })
  await steps(rig, 21, 41, [20, 30, 30])
  rig.coordinator.stop('enough')
  await rig.coordinator.close()
  const told = (await rig.events).filter(({ event }) => event !== 'step' && event !== 'member')
  const kinds = (await rig.events).map(({ event }) => event)
  expect(kinds[kinds.indexOf('straggler') - 1]).toBe('step')
  expect(told.filter(({ event }) => String(event).startsWith('straggler'))).toEqual([
    {
      event: 'straggler',
      workerId: 'w2',
      factor: expect.closeTo(1.4) as number,
      reason:
        'it takes 1.40 times as long as the median of the 2 others, for a sample and in all, over the last 20 steps',
    },
    { event: 'straggler-gone', workerId: 'w2', reason: expect.stringContaining('it takes 1.0') as string },
  ])
})

test('why names the rank that has not entered what the others wait in', async () => {
  const rig = await train()
  const [w0, w1, w2] = rig.workers as [FakeWorker, FakeWorker, FakeWorker]
  await steps(rig, 1, 3, [20, 30, 30])
  // Long enough for a step of 10 ms to count as held up.
  await new Promise(resolve => setTimeout(resolve, 1100))
  answers(w0, [op(6, 2700)])
  answers(w1, [op(6, 2650)])
  answers(w2, [op(5, 3600, { leftAgoMs: 3500, outcome: 'done' })])
  const why = await ask<RunWhy>(rig, '/why')
  expect(why.summary).toMatch(
    /^step 4 waits 1\.\d s, usually 10 ms: rank 2 \(w2\) has not entered ring all-reduce #6, the others wait in it for 2\.7 s; it computes since 3\.4 s, usually 30 ms; its link lives \(\d+ ms ago\)$/,
  )
  expect(why.causes.map(({ cause, workerId }) => [cause, workerId])).toEqual([['missing-rank', 'w2']])
  expect(why.workers.map(({ workerId, waitsIn }) => [workerId, waitsIn?.op])).toEqual([
    ['w0', 'ring all-reduce #6'],
    ['w1', 'ring all-reduce #6'],
    ['w2', undefined],
  ])
  // Who watches the run is told without asking.
  const watch = new EventWatch(rig.coordinator.url, rig.coordinator.token)
  open.push(watch)
  expect(await watch.until(({ event }) => event === 'held-up', 'the event')).toEqual({
    atMs: expect.any(Number) as number,
    event: 'held-up',
    step: 4,
    waitedMs: expect.any(Number) as number,
    cause: 'missing-rank',
    workerId: 'w2',
    reason: expect.stringMatching(/^step 4 waits .* rank 2 \(w2\) has not entered ring all-reduce #6/) as string,
  })
})

test('why names a worker that gives no answer, within a second and a half', async () => {
  const rig = await train()
  const [w0, , w2] = rig.workers as [FakeWorker, FakeWorker, FakeWorker]
  await steps(rig, 1, 2, [20, 30, 30])
  const begunMs = performance.now()
  answers(w0, [op(6, 700)])
  answers(w2, [op(6, 700)])
  const { causes } = await ask<RunWhy>(rig, '/why')
  expect(performance.now() - begunMs).toBeLessThan(1500)
  expect(causes[0]).toMatchObject({ cause: 'silent-rank', workerId: 'w1' })
  expect(causes[0]?.reason).toMatch(/^rank 1 \(w1\) gives no answer; its last sign of life was .* ago$/)
})

test('after a failure why says who saw it first, and where each worker was', async () => {
  const rig = await train()
  const [w0, w1] = rig.workers as [FakeWorker, FakeWorker]
  await steps(rig, 1, 2, [20, 30, 30])
  const ops = [op(3, 500, { leftAgoMs: 0, outcome: 'SKEIN_COLLECTIVE_PEER_LOST' })]
  await w1.send({ type: 'flight', generation: 1, cause: 'failed', computingMs: 500, ops })
  const error = {
    code: 'SKEIN_COLLECTIVE_PEER_LOST',
    retry: 'next-generation',
    what: 'the lane to rank 2 closed',
    todo: 't',
    details: {},
  } as const
  await w1.send({ type: 'peer-lost', generation: 1, peerRank: 2, error })
  await w0.hears('abort')
  const { failure } = await ask<RunWhy>(rig, '/why')
  expect(failure).toMatchObject({
    generation: 1,
    summary:
      'generation 1 failed: w1 saw it first: the lane to rank 2 closed; w1 had been in ring all-reduce #3 for 500 ms',
    reports: [{ workerId: 'w1', about: 'w2', code: 'SKEIN_COLLECTIVE_PEER_LOST', afterMs: 0 }],
    ops: [{ workerId: 'w1', op: 'ring all-reduce #3', forMs: 500 }],
  })
  await rig.coordinator.close()
  // For readers that come when the coordinator is gone.
  const kept = JSON.parse(fs.readFileSync(path.join(rig.runDir, 'why.json'), 'utf8')) as RunWhy
  expect(kept).toMatchObject({
    phase: 'ended',
    summary: expect.stringMatching(/^the run has ended: /) as string,
  })
  expect(kept.failure?.reports[0]).toEqual(failure?.reports[0])
})
