import fs from 'node:fs'
import path from 'node:path'
import { systemClock } from '@skein/core'
import { nullLogger } from '@skein/telemetry'
import { startEtcd, temporaryFolder } from '@skein/testkit'
import { afterAll, describe, expect, test } from 'vitest'
import { EtcdClient } from './etcd/etcd-client.ts'
import { EtcdLog } from './etcd/etcd-log.ts'
import { campaign, type Leadership } from './etcd/leadership.ts'
import { EventFeed } from './event-feed.ts'
import { loadSqlite } from './quiet-sqlite.ts'
import { lockRun } from './run-lock.ts'
import { heldCommit, pastOf, standOf } from './run-history.ts'
import type { RunLog } from './run-log.ts'
import { SqliteLog } from './sqlite-log.ts'

const etcd = await startEtcd()
afterAll(() => etcd?.[Symbol.asyncDispose]())
const clientOf = () => new EtcdClient([etcd?.url ?? ''])
const { signal } = new AbortController()

function lead(runId: string, ttlSeconds = 5, onOther: (url: string) => void = () => undefined): Promise<Leadership> {
  const key = `/skein/${runId}/leader`
  return campaign({
    client: clientOf(),
    key,
    url: 'http://me',
    ttlSeconds,
    clock: systemClock,
    logger: nullLogger,
    signal,
    onOther,
  })
}

const etcdLog = (runId: string, leadership: Leadership) =>
  new EtcdLog({ client: clientOf(), prefix: `/skein/${runId}/`, leadership, logger: nullLogger })

interface Place {
  /** As a coordinator that is started; the one before it is gone. */
  open(): Promise<RunLog>
  dispose(): Promise<void>
}

function sqlitePlace(): Place {
  const folder = temporaryFolder('log')
  return {
    open: () => Promise.resolve(new SqliteLog(path.join(folder.path, 'log.sqlite'))),
    dispose: () => Promise.resolve(folder[Symbol.dispose]()),
  }
}

let numPlaces = 0
function etcdPlace(): Place {
  const runId = `r${numPlaces++}`
  let leadership: Leadership | undefined
  return {
    async open() {
      await leadership?.resign()
      leadership = await lead(runId)
      return etcdLog(runId, leadership)
    },
    dispose: async () => leadership?.resign(),
  }
}

const life = { runId: 'r1', job: { steps: 3 }, resume: undefined, startStep: 0 }
const commit = (step: number, generation = 1, digest = `d${step}`) =>
  ({
    type: 'commit',
    generation,
    step,
    samplesFrom: (step - 1) * 8,
    samplesTo: step * 8,
    digest,
    loss: 1 / step,
  }) as const
const generation = (number: number, startStep: number) =>
  ({
    type: 'generation',
    generation: number,
    startStep,
    members: [
      {
        workerId: 'w1',
        incarnation: 'i',
        rank: 0,
        lane: { host: 'h', port: 1 },
        device: { backend: 'cpu', version: '1', threads: 1 },
        share: 8,
      },
    ],
  }) as const

describe.each([
  { name: 'SQLite', make: sqlitePlace, isMissing: false },
  { name: 'etcd', make: etcdPlace, isMissing: etcd === undefined },
])('a log in $name', ({ make, isMissing }) => {
  describe.skipIf(isMissing)('', () => {
    test('what was appended is there after it is opened again, and a resumed step is told by its newest generation', async () => {
      const place = make()
      const first = await place.open()
      await first.read()
      await first.beginLife(life)
      await first.append([generation(1, 0), { type: 'started', generation: 1, step: 0, digest: 'd0' }], [])
      for (const step of [1, 2, 3])
        await first.append([commit(step)], [{ event: 'checkpoint', step, path: `/c/${step}` }])
      await first.append(
        [{ type: 'checkpoint', generation: 1, step: 2, path: '/c/2' }],
        [{ event: 'eval', step: 0, loss: 5.5, phase: 'untrained' }],
      )
      await first.close()
      await first.close()

      const second = await place.open()
      expect(pastOf(await second.read())).toEqual({
        runId: 'r1',
        lastGeneration: 1,
        lastStep: 3,
        lastCheckpoint: { step: 2, generation: 1, path: '/c/2' },
        untrainedLoss: 5.5,
      })
      await second.beginLife({ ...life, resume: '/c/2', startStep: 2 })
      expect(second.numEvents, 'events are those of this life').toBe(0)
      await second.append([generation(2, 2), commit(3, 2, 'other')], [])
      expect(heldCommit(await second.read(), 3)?.digest).toBe('other')
      expect(heldCommit(await second.read(), 2)?.digest).toBe('d2')
      expect(heldCommit(await second.read(), 4)).toBeUndefined()
      expect((await second.read()).commits.map(row => [row.step, row.generation])).toEqual([
        [1, 1],
        [2, 1],
        [3, 1],
        [3, 2],
      ])
      await second.close()
      await place.dispose()
    })

    test('the shares of a generation are those of its last change, and each is told with its first step', async () => {
      const place = make()
      const store = await place.open()
      await store.read()
      await store.beginLife(life)
      const alone = generation(1, 0)
      const [member] = alone.members
      const two = [
        { ...member, share: 4 },
        { ...member, workerId: 'w2', rank: 1, share: 4 },
      ]
      await store.append([{ ...alone, members: two }, commit(1)], [])
      expect(standOf(await store.read())?.members).toMatchObject([
        { workerId: 'w1', share: 4 },
        { workerId: 'w2', share: 4 },
      ])
      await store.append([{ type: 'shares', generation: 1, fromStep: 4, shares: [6, 2] }], [])
      expect(standOf(await store.read())?.members).toMatchObject([
        { workerId: 'w1', share: 6 },
        { workerId: 'w2', share: 2 },
      ])
      await store.append([generation(2, 1)], [])
      expect(standOf(await store.read())?.members).toMatchObject([{ workerId: 'w1', share: 8 }])
      expect((await store.read()).divisions).toEqual([
        { generation: 1, fromStep: 1, shares: [4, 4] },
        { generation: 1, fromStep: 4, shares: [6, 2] },
        { generation: 2, fromStep: 2, shares: [8] },
      ])
      await store.close()
      await place.dispose()
    })

    test('checkpoints of a past that was given up are not gone on from, although the run has come to their step again', async () => {
      const place = make()
      const store = await place.open()
      await store.read()
      await store.beginLife(life)
      const saved = (number: number, step: number) =>
        ({ type: 'checkpoint', generation: number, step, path: `/c/${number}/${step}` }) as const
      const paths = async () => standOf(await store.read())?.checkpoints.map(one => one.path)
      await store.append([generation(1, 0), ...[1, 2, 3, 4].map(step => commit(step)), saved(1, 2), saved(1, 4)], [])
      // Going on where the last one ended gives nothing up.
      await store.append([generation(2, 4)], [])
      expect(await paths()).toEqual(['/c/1/4', '/c/1/2'])
      await store.append([generation(3, 2), ...[3, 4, 5].map(step => commit(step, 3))], [])
      expect(await paths()).toEqual(['/c/1/2'])
      await store.append([saved(3, 4)], [])
      expect(await paths()).toEqual(['/c/3/4', '/c/1/2'])
      await store.close()
      await place.dispose()
    })

    test('of a model that is cut the digests of its parts are kept, beside the one of all', async () => {
      const place = make()
      const store = await place.open()
      await store.read()
      await store.beginLife(life)
      const begun = { type: 'started', generation: 1, step: 0, digest: 'd0', digests: ['d0.0', 'd0.1'] } as const
      await store.append([{ ...generation(1, 0), parts: 2 }, begun], [])
      expect(standOf(await store.read())).toMatchObject({ step: 0, digests: ['d0.0', 'd0.1'] })
      await store.append([{ ...commit(1), digests: ['d1.0', 'd1.1'] }], [])
      const history = await store.read()
      expect(standOf(history)).toMatchObject({ step: 1, digests: ['d1.0', 'd1.1'] })
      expect(history.generations).toMatchObject([{ parts: 2, startDigest: 'd0', startDigests: ['d0.0', 'd0.1'] }])
      expect(heldCommit(history, 1)).toMatchObject({ digest: 'd1', digests: ['d1.0', 'd1.1'] })
      await store.append([generation(2, 1), commit(2, 2)], [])
      expect(standOf(await store.read())).toMatchObject({ step: 2, digests: ['d2'] })
      await store.close()
      await place.dispose()
    })

    test('events are read in pieces, from any number on, and an ending holds until the next life begins', async () => {
      const place = make()
      const log = await place.open()
      await log.read()
      await log.beginLife(life)
      const event = (step: number) => ({ event: 'checkpoint', step, path: `/c/${step}` }) as const
      await log.append([], [event(0), event(1), event(2)])
      await log.append([commit(1)], [event(3)])
      await log.append([], [event(4), event(5)])
      expect(log.numEvents).toBe(6)
      const steps = async (from: number, limit: number) =>
        (await log.readEvents(from, limit)).map(line => (JSON.parse(line) as { step: number }).step)
      expect(await steps(0, 100)).toEqual([0, 1, 2, 3, 4, 5])
      expect(await steps(1, 3)).toEqual([1, 2, 3])
      expect(await steps(4, 1)).toEqual([4])
      expect(await steps(6, 1)).toEqual([])
      await log.append([{ type: 'ended', status: 'stopped', reason: 'asked' }], [])
      expect((await log.read()).ending).toEqual({ status: 'stopped', reason: 'asked' })
      await log.close()
      const next = await place.open()
      await next.read()
      await next.beginLife(life)
      expect((await next.read()).ending).toBeUndefined()
      expect(await next.readEvents(0, 10)).toEqual([])
      await next.close()
      await place.dispose()
    })
  })
})

test('a log that was begun before models were cut is gone on with', async () => {
  using folder = temporaryFolder('log')
  const file = path.join(folder.path, 'log.sqlite')
  const { DatabaseSync } = loadSqlite()
  const old = new DatabaseSync(file)
  old.exec(`
    CREATE TABLE generations (
      generation INTEGER PRIMARY KEY, life INTEGER NOT NULL, startStep INTEGER NOT NULL, startDigest TEXT, at TEXT NOT NULL);
    CREATE TABLE commits (
      step INTEGER NOT NULL, generation INTEGER NOT NULL, samplesFrom INTEGER NOT NULL, samplesTo INTEGER NOT NULL,
      digest TEXT NOT NULL, loss REAL, at TEXT NOT NULL, PRIMARY KEY (step, generation)) WITHOUT ROWID;
    INSERT INTO generations VALUES (1, 1, 0, 'd0', 'then');
    INSERT INTO commits VALUES (1, 1, 0, 8, 'd1', 0.5, 'then');
  `)
  old.close()
  const log = new SqliteLog(file)
  expect(standOf(log.read())).toMatchObject({ step: 1, digests: ['d1'] })
  expect(log.read().generations).toMatchObject([{ parts: 1, startDigests: ['d0'] }])
  log.beginLife(life)
  log.append(
    [
      { ...generation(2, 1), parts: 2 },
      { ...commit(2, 2), digests: ['a', 'b'] },
    ],
    [],
  )
  expect(standOf(log.read())).toMatchObject({ step: 2, digests: ['a', 'b'] })
  log.close()
  // What was added once is there.
  const again = new SqliteLog(file)
  expect(again.read().commits).toHaveLength(2)
  again.close()
})

describe.skipIf(etcd === undefined)('leadership by a lease', () => {
  test("is one coordinator's at a time; the next one leads when it resigns, and it can write nothing more", async () => {
    const first = await lead('l1')
    const log = etcdLog('l1', first)
    await log.read()
    await log.beginLife(life)
    const others: string[] = []
    let hasSecond = false
    const second = lead('l1', 5, url => others.push(url)).then(leadership => {
      hasSecond = true
      return leadership
    })
    await log.append([commit(1)], [])
    await new Promise(resolve => setTimeout(resolve, 400))
    expect(hasSecond).toBe(false)
    expect(others).toEqual(['http://me'])
    await first.resign()
    const led = await second
    const lost = expect.objectContaining({ code: 'SKEIN_COORDINATOR_LEADERSHIP_LOST' })
    expect(() => log.append([], [])).toThrow(lost)
    await expect((async () => log.append([commit(2)], []))()).rejects.toThrow(lost)
    await led.resign()
  })

  test('of one who does not know that it is deposed: its writes are refused by etcd itself', async () => {
    const first = await lead('l2')
    const log = etcdLog('l2', first)
    await log.read()
    await log.beginLife(life)
    // Its lease ends without its knowing.
    const [leader] = await clientOf().range('/skein/l2/leader')
    expect(leader?.value).toBe('http://me')
    await endLease(first)
    const led = await lead('l2')
    const other = etcdLog('l2', led)
    expect((await other.read()).runId).toBe('r1')
    expect(first.isValid, 'it still believes').toBe(true)
    await expect((async () => log.append([commit(1)], []))()).rejects.toThrow(
      expect.objectContaining({ code: 'SKEIN_COORDINATOR_LEADERSHIP_LOST' }),
    )
    expect((await other.read()).commits).toEqual([])
    await led.resign()
    await first.resign()
  })

  test('ends by itself where etcd cannot be reached, before the lease does', async () => {
    const own = await startEtcd()
    if (own === undefined) throw new Error('etcd was there a moment ago')
    const key = '/skein/l3/leader'
    const client = new EtcdClient([own.url])
    const leadership = await campaign({
      client,
      key,
      url: 'u',
      ttlSeconds: 2,
      clock: systemClock,
      logger: nullLogger,
      signal,
      onOther: () => undefined,
    })
    const lost = new Promise<{ readonly code: string }>(resolve => leadership.onLost(resolve))
    const sinceMs = performance.now()
    await own[Symbol.asyncDispose]()
    expect(await lost).toMatchObject({ code: 'SKEIN_COORDINATOR_LEADERSHIP_LOST' })
    expect(performance.now() - sinceMs).toBeLessThan(2_600)
    expect(leadership.isValid).toBe(false)
  })
})

/** As when the process stood still for longer than it lasts; by its id, which etcd tells. */
async function endLease(leadership: Leadership): Promise<void> {
  const url = `${etcd?.url}/v3/kv/range`
  const body = JSON.stringify({ key: Buffer.from(leadership.proof.key).toString('base64') })
  const { kvs } = (await (await fetch(url, { method: 'POST', body })).json()) as { kvs: readonly { lease: string }[] }
  await clientOf().revokeLease(kvs[0]?.lease ?? '')
}

test('an append that fails leaves nothing behind and says so', () => {
  using folder = temporaryFolder('store')
  const store = new SqliteLog(path.join(folder.path, 'log.sqlite'))
  store.beginLife(life)
  store.append([commit(1)], [])
  const event = { event: 'checkpoint', step: 2, path: '/c/2' } as const
  // The same step of the same generation twice: the second record breaks the transaction.
  expect(() => store.append([commit(2), commit(1)], [event])).toThrow(
    expect.objectContaining({ code: 'SKEIN_COORDINATOR_STORE_FAILED' }),
  )
  expect(store.read().commits.length).toBe(1)
  expect(store.numEvents).toBe(0)
  store.append([commit(2)], [event])
  expect(store.readEvents(0, 10)).toEqual([JSON.stringify(event)])
  store.close()
})

test('a file that is no log is refused', () => {
  using folder = temporaryFolder('store')
  const file = path.join(folder.path, 'log.sqlite')
  fs.writeFileSync(file, 'this is not a database, but it is long enough to be looked at as one. '.repeat(20))
  expect(() => new SqliteLog(file)).toThrow(expect.objectContaining({ code: 'SKEIN_COORDINATOR_STORE_FAILED' }))
})

test('a log that is damaged behind its head is opened, and told of when it is read', () => {
  using folder = temporaryFolder('store')
  const file = path.join(folder.path, 'log.sqlite')
  const store = new SqliteLog(file)
  store.beginLife(life)
  store.append([commit(1)], [{ event: 'checkpoint', step: 1, path: '/c/1' }])
  store.close()
  overwriteTables(file, ['commits', 'events'])
  const damaged = new SqliteLog(file)
  const failed = expect.objectContaining({ code: 'SKEIN_COORDINATOR_STORE_FAILED' }) as Error
  expect(() => damaged.read()).toThrow(failed)
  expect(() => damaged.readEvents(0, 1)).toThrow(failed)
  damaged.close()
})

/** The first page of each, as a broken disk would. */
function overwriteTables(file: string, tables: readonly string[]): void {
  const { DatabaseSync } = loadSqlite()
  const database = new DatabaseSync(file)
  const pageBytes = Number(database.prepare('PRAGMA page_size').get()?.['page_size'])
  const pages = tables.map(table =>
    Number(database.prepare('SELECT rootpage FROM sqlite_master WHERE name = ?').get(table)?.['rootpage']),
  )
  database.close()
  const bytes = fs.readFileSync(file)
  for (const page of pages) bytes.fill(0xff, (page - 1) * pageBytes, page * pageBytes)
  fs.writeFileSync(file, bytes)
}

test('the lock of a run is held by one, named to the next, and free after release', () => {
  using folder = temporaryFolder('lock')
  const first = lockRun(folder.path)
  first.publish({ pid: 12345, url: 'http://127.0.0.1:1', runId: 'r1' })
  expect(() => lockRun(folder.path)).toThrow(
    expect.objectContaining({
      code: 'SKEIN_COORDINATOR_ALREADY_RUNNING',
      what: expect.stringContaining('process 12345 at http://127.0.0.1:1'),
    }),
  )
  first.release()
  first.release()
  expect(fs.existsSync(path.join(folder.path, 'coordinator.json'))).toBe(false)
  lockRun(folder.path).release()
  expect(() => lockRun(path.join(folder.path, 'missing'))).toThrow(
    expect.objectContaining({ code: 'SKEIN_COORDINATOR_STORE_FAILED' }),
  )
})

test('a feed goes on from the log to what could not be logged, and tells when there is news', async () => {
  using folder = temporaryFolder('feed')
  const store = new SqliteLog(path.join(folder.path, 'log.sqlite'))
  store.beginLife(life)
  const feed = new EventFeed(store)
  const event = (step: number) => ({ event: 'checkpoint', step, path: 'p' }) as const
  const stepsFrom = async (from: number, limit = 10) =>
    (await feed.read(from, limit)).map(line => (JSON.parse(line) as { step: number }).step)
  const news = feed.news()
  store.append([], [event(1), event(2), event(3)])
  feed.announce()
  await news
  expect(await stepsFrom(0)).toEqual([1, 2, 3])
  expect(await stepsFrom(1, 1)).toEqual([2])
  expect(await stepsFrom(7)).toEqual([])
  feed.addUnlogged([event(4), event(5)])
  expect(feed.length).toBe(5)
  expect(await stepsFrom(3)).toEqual([4, 5])
  expect(await stepsFrom(4)).toEqual([5])
  const end = feed.news()
  feed.end()
  await end
  expect(feed.isOver).toBe(true)
  store.close()
})
