import { type Clock, type Deferred, deferred, type ErrorCode, SkeinError, systemClock } from '@skein/core'
import { defaultDeadlines, type LogRecord, type RunEvent } from '@skein/membership'
import { nullLogger } from '@skein/telemetry'
import { Refusals } from '@skein/transport'
import { type CoordinatorMessage, protocolVersion, type WorkerMessage } from '@skein/wire'
import { expect, test } from 'vitest'
import { Coordinator } from './coordinator.ts'
import { CoordinatorErrors } from './errors.ts'
import { EventFeed } from './event-feed.ts'
import type { RunLog } from './run-log.ts'

/** A log behind a slow network: each write waits until the test lets it end. */
class SlowLog implements RunLog {
  readonly events: RunEvent[] = []
  readonly #writes: Deferred<void>[] = []
  numEvents = 0

  get numWriting(): number {
    return this.#writes.length
  }

  async append(records: readonly LogRecord[], events: readonly RunEvent[]): Promise<void> {
    if (records.length === 0 && events.length === 0) return
    const write = deferred<void>()
    this.#writes.push(write)
    await write.promise
    this.events.push(...events)
    this.numEvents = this.events.length
  }

  /** Ends the write under way, then lets what waited for it go on. */
  async settle(failure?: SkeinError): Promise<void> {
    const write = this.#writes.shift()
    if (write === undefined) throw new Error('nothing is being written')
    if (failure === undefined) write.resolve()
    else write.reject(failure)
    await new Promise(setImmediate)
  }

  read(): never {
    throw new Error('a new run reads nothing')
  }
  beginLife(): void {}
  readEvents(from: number, limit: number): string[] {
    return this.events.slice(from, from + limit).map(event => JSON.stringify(event))
  }
  close(): void {}
}

async function start(clock: Clock = systemClock) {
  const log = new SlowLog()
  const coordinator = new Coordinator({
    config: {
      runId: 'r',
      runDir: '/r',
      job: {},
      parts: 1,
      replicas: undefined,
      numWorkers: 3,
      minWorkers: 1,
      maxWorkers: 3,
      globalBatch: 6,
      shares: 'equal',
      totalSteps: 9,
      mirrorEvery: 0,
      laneSecret: 's',
      deadlines: defaultDeadlines,
    },
    log,
    feed: new EventFeed(log),
    clock,
    logger: nullLogger,
    joinTimeoutMs: 1000,
    lingerMs: 0,
    laneKey: 'k',
    refusals: new Refusals(),
  })
  const none = undefined
  const fresh = { generation: 0, step: 0, digests: none, samplesTo: 0, checkpoint: none, members: [] }
  const begun = coordinator.begin({ type: 'recovered', ...fresh, untrainedLoss: none }, [], none)
  await log.settle()
  await begun
  const open = () => {
    const heard: CoordinatorMessage['type'][] = []
    const link = coordinator.linkOpened({
      send: async message => void heard.push(message.type),
      close: () => void heard.push('closed' as CoordinatorMessage['type']),
    })
    return { link, heard }
  }
  return { log, coordinator, open }
}

const joining = (workerId: string): WorkerMessage => ({
  type: 'join',
  workerId,
  incarnation: 'i',
  protocol: protocolVersion,
  lane: { host: 'h', port: 1 },
  pid: 1,
  device: { backend: 'cpu', version: '1', threads: 1 },
  holds: [],
  keeps: [],
})

const failure = (code: ErrorCode) => new SkeinError(code, { what: 'the log said no', todo: 'nothing' })

test('events that come while the log writes are decided afterwards, in order, and nothing leaves before it is durable', async () => {
  const { log, coordinator, open } = await start()
  const workers = ['a', 'b', 'c'].map(name => ({ name, ...open() }))
  for (const { link, name } of workers) coordinator.linkSaid(link, joining(name))
  for (const [i, { heard }] of workers.entries()) {
    expect(log.numWriting, 'one write at a time').toBe(1)
    expect(heard, 'before it is durable').toEqual([])
    await log.settle()
    expect(heard).toEqual(['welcome'])
    expect(coordinator.status().members.length).toBe(i + 1)
  }
  expect(log.events.flatMap(event => (event.event === 'member' ? [event.workerId] : []))).toEqual(['a', 'b', 'c'])
})

test('a log that fails ends the run for its workers, and what was decided last did not happen', async () => {
  const { log, coordinator, open } = await start()
  const [a, b] = [open(), open()]
  coordinator.linkSaid(a.link, joining('a'))
  await log.settle()
  coordinator.linkSaid(b.link, joining('b'))
  await log.settle(failure(CoordinatorErrors.STORE_FAILED))
  expect(a.heard.slice(0, 2)).toEqual(['welcome', 'fail'])
  expect(b.heard).not.toContain('welcome')
  expect(await coordinator.finished).toMatchObject({
    status: 'failed',
    error: { code: 'SKEIN_COORDINATOR_STORE_FAILED' },
  })
})

test('a coordinator that leads no more says nothing about the run, decides nothing more, and lets its workers go', async () => {
  const { log, coordinator, open } = await start()
  const [a, b] = [open(), open()]
  coordinator.linkSaid(a.link, joining('a'))
  await log.settle()
  coordinator.linkSaid(b.link, joining('b'))
  await log.settle(failure(CoordinatorErrors.LEADERSHIP_LOST))
  coordinator.apply({ type: 'stopRequested', reason: 'too late' })
  expect(log.numWriting).toBe(0)
  expect(a.heard).toEqual(['welcome', 'closed'])
  expect(b.heard).toEqual(['closed'])
  const { status, error } = await coordinator.finished
  expect([status, error?.code]).toEqual(['failed', 'SKEIN_COORDINATOR_LEADERSHIP_LOST'])
  expect(log.events.map(({ event }) => event)).not.toContain('error')
})

test('who was let go and still writes to disk is no stranger, however long that takes', async () => {
  let nowMs = 0
  const { log, coordinator, open } = await start({ ...systemClock, now: () => nowMs })
  const a = open()
  coordinator.linkSaid(a.link, joining('a'))
  await log.settle()
  coordinator.linkSaid(a.link, { type: 'loaded', dataFingerprint: 'f', numParams: 1 })
  await new Promise(setImmediate)
  coordinator.linkSaid(a.link, { type: 'leave', reason: 'told to' })
  await log.settle()
  expect(a.heard).toEqual(['welcome', 'finish'])
  nowMs = 5_000
  coordinator.linkSaid(a.link, { type: 'heartbeat', progress: 1, step: 0, opsEntered: 0 })
  await new Promise(setImmediate)
  coordinator.tick()
  expect(a.heard).toEqual(['welcome', 'finish'])
})
