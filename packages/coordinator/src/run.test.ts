import { fork } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { combinedDigest, within, sleep } from '@skein/core'
import { saveCheckpoint } from '@skein/checkpoint'
import { nullLogger } from '@skein/telemetry'
import { temporaryFolder } from '@skein/testkit'
import { dialControl } from '@skein/transport'
import { afterEach, expect, test } from 'vitest'
import { batch, digestAfter, FakeWorker } from './fake-worker.test.support.ts'
import { type CoordinatorOptions, type RunningCoordinator, startCoordinator } from './start-coordinator.ts'
import type { CoordinatorStatus } from './status.ts'
import { heldCommit, pastOf } from './run-history.ts'
import { SqliteLog } from './sqlite-log.ts'

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close()
})

interface Started extends RunningCoordinator {
  readonly runDir: string
}

function newFolder(): string {
  const folder = temporaryFolder('coordinator')
  open.push({ close: () => folder[Symbol.dispose]() })
  return folder.path
}

async function start(options: Partial<CoordinatorOptions> = {}): Promise<Started> {
  const runDir = options.runDir ?? newFolder()
  const coordinator = await startCoordinator({
    job: { name: 'tiny', steps: 20, batch: { global: batch } },
    numWorkers: 3,
    globalBatch: batch,
    logger: nullLogger,
    ...options,
    runDir,
  })
  open.push(coordinator)
  return { ...coordinator, runDir }
}

async function join(coordinator: Started, workerId: string, incarnation?: string): Promise<FakeWorker> {
  const { url, token } = coordinator
  const worker = await FakeWorker.join({ url, token, workerId, ...(incarnation === undefined ? {} : { incarnation }) })
  open.push(worker)
  return worker
}

const joinAll = (coordinator: Started, names: readonly string[]) =>
  Promise.all(names.map(name => join(coordinator, name)))

/** All events of the run, read as they come. */
async function follow(coordinator: Started, from = 0): Promise<Record<string, unknown>[]> {
  const response = await fetch(`${coordinator.url}/events?from=${from}`)
  const lines = (await response.text()).trimEnd().split('\n')
  return lines.map(line => JSON.parse(line) as Record<string, unknown>)
}

/** Who was turned away so far, by reason. */
const refusedBy = async (coordinator: Started) =>
  ((await (await fetch(`${coordinator.url}/status`)).json()) as CoordinatorStatus).refused

const kindsOf = (events: readonly Record<string, unknown>[]) => events.map(event => event['event'])

/** A stranger's socket: Node's own WebSocket client, which sends whatever it is given. */
async function rawLink(coordinator: Started): Promise<{ socket: WebSocket; closed: Promise<number> }> {
  // Node's client takes headers; the type of the standard does not have them.
  const Client = WebSocket as unknown as new (url: string, init: { headers: Record<string, string> }) => WebSocket
  const socket = new Client(`${coordinator.url.replace('http', 'ws')}/control`, {
    headers: { authorization: `Bearer ${coordinator.token}` },
  })
  const closed = once(socket, 'close').then(([event]) => (event as { code: number }).code)
  await once(socket, 'open')
  return { socket, closed }
}

test('three workers join, are ready, vote twenty steps and are done; the log holds what they voted', async () => {
  const coordinator = await start()
  const live = follow(coordinator)
  // The one that comes last gets rank 0: ranks go by name.
  const workers = [await join(coordinator, 'w2'), await join(coordinator, 'w1'), await join(coordinator, 'w0')]
  await Promise.all(workers.map(worker => worker.train(20)))
  const outcome = await coordinator.finished
  expect(outcome).toMatchObject({ status: 'finished', steps: 20, checkpoint: '/checkpoints/step-20' })

  const events = await live
  const story = kindsOf(events).filter(kind => kind !== 'step')
  expect(story.join(' ')).toBe(
    'run member member member generation member member member start eval eval checkpoint member member member done',
  )
  const steps = events.filter(event => event['event'] === 'step')
  expect(steps.length).toBe(20)
  expect(steps[4]).toMatchObject({
    step: 5,
    totalSteps: 20,
    loss: 1,
    tokens: 64,
    samples: [4 * batch, 5 * batch],
    generation: 1,
    workers: 3,
    digest: digestAfter(5),
    stepMs: 10,
    computeMs: 8,
    commMs: 4,
    bytesSent: 300,
    members: [{ workerId: 'w0', rank: 0 }, { workerId: 'w1' }, { workerId: 'w2' }],
  })
  expect(events.at(-1)).toMatchObject({
    event: 'done',
    status: 'finished',
    steps: 20,
    checkpoint: '/checkpoints/step-20',
    valLoss: 1.5,
    untrainedLoss: 5.5,
    baselineLoss: 2.5,
    peakRssBytes: 2000,
    sample: 'Once upon',
  })
  expect(await follow(coordinator, 7), 'events are told again from any number').toEqual(events.slice(7))
  for (const worker of workers) {
    const commits = worker.all('commit')
    expect(commits.map(commit => [commit.step, commit.digest])).toEqual(
      Array.from({ length: 20 }, (_, i) => [i + 1, digestAfter(i + 1)]),
    )
  }

  await coordinator.close()
  const store = new SqliteLog(path.join(coordinator.runDir, 'coordinator.sqlite'))
  open.push(store)
  expect(store.read().commits).toEqual(
    Array.from({ length: 20 }, (_, i) => ({
      step: i + 1,
      generation: 1,
      samplesFrom: i * batch,
      samplesTo: (i + 1) * batch,
      digest: digestAfter(i + 1),
      digests: [digestAfter(i + 1)],
      loss: 5 / (i + 1),
    })),
  )
  expect(pastOf(store.read())).toMatchObject({
    lastStep: 20,
    lastGeneration: 1,
    lastCheckpoint: { step: 20 },
    untrainedLoss: 5.5,
  })
})

test('of a model that is cut a restarted coordinator knows by the digests of the parts who holds what', async () => {
  const job = { name: 'tiny', steps: 20, batch: { global: batch }, mesh: { dp: 2, pp: 2 } }
  const first = await start({ job, numWorkers: 4 })
  const workers = await joinAll(first, ['w0', 'w1', 'w2', 'w3'])
  const ranks = await Promise.all(workers.map(worker => worker.prepare()))
  expect(ranks).toEqual([0, 1, 2, 3])
  await Promise.all(workers.map(worker => worker.hears('start')))
  await Promise.all(workers.map(worker => worker.vote(1)))
  const digests = [digestAfter(1, 0), digestAfter(1, 1)]
  const digest = combinedDigest(digests)
  expect(await workers[0]?.committed(1)).toMatchObject({ digest })
  await first.close()

  const second = await start({ job, numWorkers: 4, runDir: first.runDir, continueRun: true })
  const { url, token } = second
  const back = (workerId: string, part: number) =>
    FakeWorker.join({ url, token, workerId, holds: [{ part, step: 1, digest: digestAfter(1, part) }] })
  // Another process of w1 has nothing: w3 is the one that holds part 1.
  const [, , , w3] = (await Promise.all([back('w0', 0), join(second, 'w1'), back('w2', 0), back('w3', 1)])) as [
    FakeWorker,
    FakeWorker,
    FakeWorker,
    FakeWorker,
  ]
  open.push({ close: () => w3.close() })
  const { members, startStep, origin, parts } = await w3.generation()
  expect({ startStep, parts, origin }).toEqual({ startStep: 1, parts: 2, origin: { kind: 'members', ranks: [0, 1] } })
  expect(members.map(({ workerId, rank }) => [workerId, rank])).toEqual([
    ['w0', 0],
    ['w3', 1],
  ])
})

test('a commit that a worker has heard of is in the log', async () => {
  const coordinator = await start({ numWorkers: 1 })
  const worker = await join(coordinator, 'w0')
  await worker.prepare()
  await worker.hears('start')
  const reader = new SqliteLog(path.join(coordinator.runDir, 'coordinator.sqlite'))
  open.push(reader)
  for (const step of [1, 2, 3]) {
    await worker.vote(step)
    await worker.committed(step)
    expect(heldCommit(reader.read(), step)?.digest).toBe(digestAfter(step))
  }
})

test('a worker with a wrong token is refused before it can say anything', async () => {
  const coordinator = await start()
  await expect(dialControl({ url: coordinator.url, token: 'wrong-token' })).rejects.toMatchObject({
    code: 'SKEIN_TRANSPORT_UNAUTHORIZED',
  })
  expect(await refusedBy(coordinator)).toEqual({ badToken: 1 })
})

test('garbage and oversized messages of a stranger end its link and nothing else', async () => {
  const coordinator = await start({ numWorkers: 1, job: { steps: 2 } })
  for (const bytes of [new Uint8Array([0xc1, 1, 2, 3]), new Uint8Array(5 * 2 ** 20)]) {
    const { socket, closed } = await rawLink(coordinator)
    socket.send(bytes)
    expect(await closed).not.toBe(1000)
  }
  const { socket, closed } = await rawLink(coordinator)
  socket.send('text')
  expect(await closed).toBe(1008)
  expect(await refusedBy(coordinator)).toEqual({ badMessage: 3 })
  const worker = await join(coordinator, 'w0')
  await worker.train(2)
  expect(await coordinator.finished).toMatchObject({ status: 'finished' })
})

test('a message before the join is refused', async () => {
  const coordinator = await start()
  const { url, token } = coordinator
  const worker = new FakeWorker(await dialControl({ url, token }), 'w0')
  open.push(worker)
  await worker.send({ type: 'leave', reason: 'never came' })
  await worker.send({ type: 'ready', generation: 1, digest: digestAfter(0) })
  expect((await worker.hears('refuse')).error.code).toBe('SKEIN_MEMBERSHIP_NOT_A_MEMBER')
  await worker.closed
})

test('a link over which nobody joins is closed', async () => {
  const coordinator = await start({ joinTimeoutMs: 1 })
  const worker = new FakeWorker(await dialControl({ url: coordinator.url, token: coordinator.token }), 'w0')
  open.push(worker)
  expect((await worker.hears('refuse')).error.code).toBe('SKEIN_COORDINATOR_JOIN_TIMEOUT')
  await worker.closed
  expect((await refusedBy(coordinator)).noJoin).toBeGreaterThan(0)
})

test('a killed worker is named to the others at once, and they go on without it from the last commit', async () => {
  const coordinator = await start({ totalSteps: 60 })
  const live = follow(coordinator)
  const child = fork(new URL('./fake-worker.test.process.js', import.meta.url), [
    coordinator.url,
    coordinator.token,
    'w1',
  ])
  open.push({ close: () => child.kill('SIGKILL') })
  const others = await joinAll(coordinator, ['w0', 'w2'])
  const lives = others.map(worker => worker.train(60))
  await Promise.all(others.map(worker => worker.committed(5)))
  child.kill('SIGKILL')
  for (const worker of others) {
    const { error } = await worker.hears('abort')
    expect(error.code).toBe('SKEIN_MEMBERSHIP_WORKER_LOST')
    expect(error.details['workerId']).toBe('w1')
  }
  await Promise.all(lives)
  expect(await coordinator.finished).toMatchObject({ status: 'finished', steps: 60 })
  const events = await live
  expect(events).toContainEqual(expect.objectContaining({ event: 'member', workerId: 'w1', change: 'lost' }))
  const steps = events.filter(event => event['event'] === 'step')
  expect(steps.map(event => event['step'])).toEqual(Array.from({ length: 60 }, (_, i) => i + 1))
  expect(steps.at(-1)).toMatchObject({ generation: 2, workers: 2 })
})

test('a worker that comes while the others train is in from a step to come, one that leaves is out from one', async () => {
  const coordinator = await start({ numWorkers: 2, totalSteps: 1_000_000, deadlines: { admitMs: 0 } })
  const [w0, w1] = (await joinAll(coordinator, ['w0', 'w1'])) as [FakeWorker, FakeWorker]
  const lives = [w0.train(1_000_000), w1.train(1_000_000)]
  await w0.committed(3)
  const w2 = await join(coordinator, 'w2')
  const { generation } = await w2.hears('catch-up')
  await w2.send({ type: 'caught-up', generation, holds: [] })
  lives.push(w2.train(1_000_000))
  await w0.hears('regroup')
  const three = await w0.hears('generation', message => message.members.length === 3)
  expect(three.origin).toEqual({ kind: 'members', ranks: [0, 1] })
  expect(three.members.map(member => member.share)).toEqual([2, 3, 3])
  await w2.committed(three.startStep + 2)
  await w1.send({ type: 'leave', reason: 'told to' })
  await w1.hears('finish')
  const two = await w0.hears('generation', message => message.generation > three.generation)
  expect(two.members.map(member => member.workerId)).toEqual(['w0', 'w2'])
  await w0.committed(two.startStep + 1)
  coordinator.stop('enough')
  await Promise.all(lives)
  const outcome = await coordinator.finished
  expect(outcome.status).toBe('stopped')
  await coordinator.close()
  const store = new SqliteLog(path.join(coordinator.runDir, 'coordinator.sqlite'))
  open.push(store)
  expect(
    store.read().commits.map(commit => commit.step),
    'nothing was made twice',
  ).toEqual(Array.from({ length: outcome.steps }, (_, i) => i + 1))
})

test('the only worker fails: the run ends with its error', async () => {
  const coordinator = await start({ numWorkers: 1 })
  const w1 = await join(coordinator, 'w1')
  const details = { folder: '/data' }
  const error = {
    code: 'SKEIN_DATA_EMPTY',
    retry: 'never',
    what: 'no text in /data',
    todo: 'add some',
    details,
  } as const
  await w1.send({ type: 'failed', error })
  expect((await w1.hears('fail')).error.what).toContain('worker w1')
  const last = (await follow(coordinator)).at(-1)
  expect(last).toMatchObject({
    event: 'error',
    code: 'SKEIN_DATA_EMPTY',
    todo: 'add some',
    workerId: 'w1',
    details: { folder: '/data', workerId: 'w1' },
  })
  expect(last?.['message']).toContain('no text in /data')
})

test('a digest that differs from the majority puts its worker out, and the step is made again', async () => {
  const coordinator = await start()
  const workers = await joinAll(coordinator, ['w0', 'w1', 'w2'])
  await Promise.all(workers.map(worker => worker.prepare()))
  await Promise.all(workers.map(worker => worker.hears('start')))
  await Promise.all(workers.map(worker => worker.vote(1, worker.workerId === 'w2' ? { digest: digestAfter(99) } : {})))
  const [w0, w1, w2] = workers as [FakeWorker, FakeWorker, FakeWorker]
  const { error } = await w2.hears('refuse')
  expect(error).toMatchObject({ code: 'SKEIN_MEMBERSHIP_DIGEST_MISMATCH', retry: 'next-generation' })
  expect(error.details['minority']).toEqual(['w2'])
  await Promise.all([w0.generation(1), w1.generation(1)])
  await Promise.all([w0.prepare(), w1.prepare()])
  await Promise.all([w0.hears('start', m => m.generation === 2), w1.hears('start', m => m.generation === 2)])
  await Promise.all([w0.vote(1), w1.vote(1)])
  expect(await w0.committed(1)).toMatchObject({ generation: 2, digest: digestAfter(1) })
})

test('different data is found before the first step', async () => {
  const coordinator = await start({ numWorkers: 2 })
  const { url, token } = coordinator
  const w0 = await FakeWorker.join({ url, token, workerId: 'w0', dataFingerprint: 'one' })
  const w1 = await FakeWorker.join({ url, token, workerId: 'w1', dataFingerprint: 'two' })
  open.push(w0, w1)
  expect((await w0.hears('fail')).error.code).toBe('SKEIN_MEMBERSHIP_DATA_MISMATCH')
})

test('a stop lets all finish one step, and the run ends as stopped with a checkpoint', async () => {
  const coordinator = await start({ numWorkers: 2, job: { steps: 1_000_000 } })
  const workers = await joinAll(coordinator, ['w0', 'w1'])
  const lives = workers.map(worker => worker.train(1_000_000))
  await Promise.all(workers.map(worker => worker.committed(3)))
  const response = await fetch(`${coordinator.url}/stop`, {
    method: 'POST',
    headers: { authorization: `Bearer ${coordinator.token}` },
  })
  expect(response.status).toBe(202)
  await Promise.all(lives)
  const outcome = await coordinator.finished
  expect(outcome.status).toBe('stopped')
  const afterSteps = workers.map(worker => worker.all('stop')[0]?.afterStep)
  expect(afterSteps).toEqual([outcome.steps, outcome.steps])
  expect(outcome.checkpoint).toBe(`/checkpoints/step-${outcome.steps}`)
})

test('one worker too many stands by, and takes the place of one that is lost', async () => {
  const coordinator = await start({ numWorkers: 2, maxWorkers: 2, totalSteps: 1_000_000 })
  const [w0, w1] = (await joinAll(coordinator, ['w0', 'w1'])) as [FakeWorker, FakeWorker]
  const lives = [w0.train(1_000_000), w1.train(1_000_000).catch(() => undefined)]
  await w0.committed(1)
  const spare = await join(coordinator, 'w2')
  lives.push(spare.train(1_000_000))
  const { generation } = await spare.hears('catch-up')
  await spare.send({ type: 'caught-up', generation, holds: [] })
  await w0.committed(w0.all('commit').length + 5)
  expect(w0.all('regroup'), 'there is no room').toEqual([])
  await w1.close()
  const next = await w0.generation(1)
  expect(next.members.map(member => member.workerId)).toEqual(['w0', 'w2'])
  coordinator.stop('enough')
  await Promise.all(lives)
})

/** Takes them from the preparation to the commit of so many steps. */
async function train(workers: readonly FakeWorker[], steps: number): Promise<void> {
  for (const worker of workers) await worker.prepare()
  await Promise.all(workers.map(worker => worker.hears('start')))
  for (let step = 1; step <= steps; step++) {
    await Promise.all(workers.map(worker => worker.vote(step)))
    await workers[0]?.committed(step)
  }
}

test('of a run of short steps a worker that is slow is waited for, and one that stands still while another waits is put out', async () => {
  const coordinator = await start({ numWorkers: 2, totalSteps: 100, deadlines: { stallMs: 60_000, stallLeastMs: 300 } })
  const [w0, w1] = (await joinAll(coordinator, ['w0', 'w1'])) as [FakeWorker, FakeWorker]
  await train([w0, w1], 22)
  // Rank 0 waits in a collective that rank 1, which moves, has not entered.
  await w0.send({ type: 'heartbeat', progress: 1, step: 22, opsEntered: 9 })
  for (let progress = 1; progress <= 30; progress++) {
    await w1.send({ type: 'heartbeat', progress, step: 22, opsEntered: 8 })
    await sleep(50)
  }
  expect(w0.all('abort'), '1.5 s in which it moved').toEqual([])
  const stoodSince = performance.now()
  expect((await w0.hears('abort')).error.what).toContain('worker w1 (rank 1)')
  expect(performance.now() - stoodSince).toBeGreaterThan(150)
  expect((await w1.hears('refuse')).error.code).toBe('SKEIN_MEMBERSHIP_STALLED')
})

test('of a pipe whose stages wait for each other the one that waits for nobody is put out', async () => {
  const coordinator = await start({
    numWorkers: 2,
    minWorkers: 2,
    parts: 2,
    totalSteps: 100,
    deadlines: { stallMs: 60_000, stallLeastMs: 300 },
  })
  const [w0, w1] = (await joinAll(coordinator, ['w0', 'w1'])) as [FakeWorker, FakeWorker]
  await train([w0, w1], 22)
  // Whoever waits has entered fewer than the one that hangs: that says nothing, since parts do different work.
  await w0.send({ type: 'heartbeat', progress: 1, step: 22, opsEntered: 3, waitsFor: ['w1'] })
  await w1.send({ type: 'heartbeat', progress: 1, step: 22, opsEntered: 8 })
  expect((await w0.hears('abort')).error.what).toContain('worker w1 (rank 1)')
  expect((await w1.hears('refuse')).error.code).toBe('SKEIN_MEMBERSHIP_STALLED')
})

test('status shows members, their progress, and whose vote is missing', async () => {
  const coordinator = await start({ numWorkers: 2 })
  const [w0, w1] = (await joinAll(coordinator, ['w0', 'w1'])) as [FakeWorker, FakeWorker]
  await w0.prepare()
  await w1.prepare()
  await Promise.all([w0.hears('start'), w1.hears('start')])
  await w1.vote(1)
  await w1.send({ type: 'heartbeat', progress: 7, step: 1, opsEntered: 3 })
  // A refusal of a later message shows that the earlier ones were taken.
  await w1.send({ type: 'evaluated', generation: 1, step: 0, loss: 1, phase: 'during' })
  await w1.hears('refuse')
  const response = await fetch(`${coordinator.url}/status`)
  expect(await response.json()).toMatchObject({
    phase: 'training',
    generation: 1,
    waitingFor: 'waiting for the votes of worker w0 (rank 0) for step 1',
    members: [
      { workerId: 'w0', rank: 0, state: 'computing' },
      { workerId: 'w1', rank: 1, state: 'voted', progress: 7, step: 1, device: { backend: 'none' } },
    ],
  })
})

test('a run goes on from its checkpoint with the same samples, and its steps are told by the newest generation', async () => {
  const runDir = newFolder()
  const first = await start({ runDir, numWorkers: 1, job: { steps: 5 } })
  await (await join(first, 'w0')).train(5)
  await first.finished
  await first.close()
  await expect(start({ runDir, numWorkers: 1 })).rejects.toMatchObject({ code: 'SKEIN_COORDINATOR_RUN_EXISTS' })
  const elsewhere = start({ runDir: newFolder(), numWorkers: 1, continueRun: true })
  await expect(elsewhere).rejects.toMatchObject({ code: 'SKEIN_COORDINATOR_NO_RUN' })

  const weights = [{ name: 'w', shape: [1], data: new Float32Array([1]) }]
  const { path: resume } = await saveCheckpoint(path.join(runDir, 'checkpoints'), {
    step: 3,
    samplesSeen: 3 * batch,
    seed: 1,
    digest: digestAfter(3),
    generation: 1,
    job: {},
    model: {},
    createdBy: {},
    parameters: weights,
    expAvg: weights,
    expAvgSq: weights,
  })
  const second = await start({ runDir, numWorkers: 1, job: { steps: 6 }, resume })
  const worker = await join(second, 'w0')
  await worker.train(6)
  expect(await worker.hears('generation')).toMatchObject({ startStep: 3, origin: { kind: 'checkpoint', path: resume } })
  expect(worker.all('commit').map(commit => commit.step)).toEqual([4, 5, 6])
  expect(await second.finished).toMatchObject({ status: 'finished', steps: 6 })
  const events = await follow(second)
  expect(events.at(-1)).toMatchObject({ event: 'done', untrainedLoss: 5.5 })
  expect(events[0]).toMatchObject({ event: 'run', startStep: 3, resume })
  await second.close()
  const store = new SqliteLog(path.join(runDir, 'coordinator.sqlite'))
  open.push(store)
  expect(store.read().commits.map(({ step, generation }) => [step, generation])).toEqual([
    [1, 1],
    [2, 1],
    [3, 1],
    [4, 1],
    [4, 2],
    [5, 1],
    [5, 2],
    [6, 2],
  ])
})

test('a checkpoint of other parameters than the log has committed is refused', async () => {
  const runDir = newFolder()
  const first = await start({ runDir, numWorkers: 1, job: { steps: 2 } })
  await (await join(first, 'w0')).train(2)
  await first.close()
  const weights = [{ name: 'w', shape: [1], data: new Float32Array([1]) }]
  const { path: resume } = await saveCheckpoint(path.join(runDir, 'checkpoints'), {
    step: 2,
    samplesSeen: 2 * batch,
    seed: 1,
    digest: digestAfter(77),
    generation: 1,
    job: {},
    model: {},
    createdBy: {},
    parameters: weights,
    expAvg: weights,
    expAvgSq: weights,
  })
  const second = await start({ runDir, numWorkers: 1, resume })
  const worker = await join(second, 'w0')
  await worker.prepare({ digest: digestAfter(77) })
  expect((await worker.hears('fail')).error.code).toBe('SKEIN_MEMBERSHIP_START_MISMATCH')
})

test('a log that cannot be written ends the run before the commit is told, and readers hear why', async () => {
  const coordinator = await start({ numWorkers: 1 })
  const live = follow(coordinator)
  const worker = await join(coordinator, 'w0')
  await worker.prepare()
  await worker.hears('start')
  await worker.vote(1)
  await worker.committed(1)
  // Another writer holds the log for longer than the coordinator waits for it: as good as a full disk.
  const file = path.join(coordinator.runDir, 'coordinator.sqlite')
  const { DatabaseSync } = process.getBuiltinModule('node:sqlite')
  const thief = new DatabaseSync(file)
  open.push(thief)
  thief.exec('BEGIN IMMEDIATE')
  await worker.vote(2)
  expect((await worker.hears('fail')).error.code).toBe('SKEIN_COORDINATOR_STORE_FAILED')
  expect(worker.all('commit').map(commit => commit.step)).toEqual([1])
  await worker.close()
  const events = await live
  expect(events.at(-1)).toMatchObject({ event: 'error', code: 'SKEIN_COORDINATOR_STORE_FAILED', steps: 1 })
  expect(kindsOf(events).filter(kind => kind === 'step').length).toBe(1)
  expect(await coordinator.finished).toMatchObject({ status: 'failed', steps: 1 })
})

test('the end of the process is a loss for the workers, told with a reason', async () => {
  const coordinator = await start({ numWorkers: 1 })
  const worker = await join(coordinator, 'w0')
  await worker.hears('welcome')
  const closing = coordinator.close()
  expect((await worker.hears('fail')).error.code).toBe('SKEIN_COORDINATOR_CLOSED')
  await worker.close()
  await within(closing, { what: 'the coordinator to close', timeoutMs: 10_000 })
})

test('the log of the process tells the story without the token', async () => {
  const runDir = newFolder()
  const coordinator = await startCoordinator({
    job: { steps: 2, batch: { global: batch } },
    numWorkers: 1,
    runDir,
    token: 'a-secret-token',
    logLevel: 'debug',
  })
  open.push(coordinator)
  const worker = await FakeWorker.join({ url: coordinator.url, token: coordinator.token, workerId: 'w0' })
  open.push(worker)
  await worker.train(2)
  await coordinator.finished
  await coordinator.close()
  const text = fs.readFileSync(path.join(runDir, 'logs', 'coordinator.log'), 'utf8')
  const logged = text
    .trimEnd()
    .split('\n')
    .map(line => (JSON.parse(line) as { event: string }).event)
  expect(logged).toContain('coordinator.listening')
  expect(logged.filter(event => event === 'membership.phase').length).toBe(4)
  expect(logged).toContain('run.done')
  expect(text).not.toContain('a-secret-token')
})
