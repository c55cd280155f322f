import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { expect, test } from 'vitest'
import { EventFeed } from './event-feed.ts'
import { lockRun } from './run-lock.ts'
import { heldCommit, pastOf, standOf } from './run-history.ts'
import { SqliteLog } from './sqlite-log.ts'

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

test('what was appended is there after the file is opened again, and a resumed step is told by its newest generation', () => {
  using folder = temporaryFolder('store')
  const file = path.join(folder.path, 'log.sqlite')
  const first = new SqliteLog(file)
  first.beginLife(life)
  first.append([generation(1, 0), { type: 'started', generation: 1, step: 0, digest: 'd0' }], [])
  for (const step of [1, 2, 3]) first.append([commit(step)], [{ event: 'checkpoint', step, path: `/c/${step}` }])
  first.append(
    [{ type: 'checkpoint', generation: 1, step: 2, path: '/c/2' }],
    [{ event: 'eval', step: 0, loss: 5.5, phase: 'untrained' }],
  )
  first.close()
  first.close()

  const second = new SqliteLog(file)
  expect(pastOf(second.read())).toEqual({
    runId: 'r1',
    lastGeneration: 1,
    lastStep: 3,
    lastCheckpoint: { step: 2, path: '/c/2' },
    untrainedLoss: 5.5,
  })
  second.beginLife({ ...life, resume: '/c/2', startStep: 2 })
  expect(second.numEvents, 'events are those of this life').toBe(0)
  second.append([generation(2, 2), commit(3, 2, 'other')], [])
  expect(heldCommit(second.read(), 3)?.digest).toBe('other')
  expect(heldCommit(second.read(), 2)?.digest).toBe('d2')
  expect(heldCommit(second.read(), 4)).toBeUndefined()
  expect(second.read().commits.map(row => [row.step, row.generation])).toEqual([
    [1, 1],
    [2, 1],
    [3, 1],
    [3, 2],
  ])
  second.close()
})

test('the shares of a generation are those of its last change, and each is told with its first step', () => {
  using folder = temporaryFolder('store')
  const store = new SqliteLog(path.join(folder.path, 'log.sqlite'))
  store.beginLife(life)
  const alone = generation(1, 0)
  const [member] = alone.members
  const two = [
    { ...member, share: 4 },
    { ...member, workerId: 'w2', rank: 1, share: 4 },
  ]
  store.append([{ ...alone, members: two }, commit(1)], [])
  expect(standOf(store.read())?.members).toMatchObject([
    { workerId: 'w1', share: 4 },
    { workerId: 'w2', share: 4 },
  ])
  store.append([{ type: 'shares', generation: 1, fromStep: 4, shares: [6, 2] }], [])
  expect(standOf(store.read())?.members).toMatchObject([
    { workerId: 'w1', share: 6 },
    { workerId: 'w2', share: 2 },
  ])
  store.append([generation(2, 1)], [])
  expect(standOf(store.read())?.members).toMatchObject([{ workerId: 'w1', share: 8 }])
  expect(store.read().divisions).toEqual([
    { generation: 1, fromStep: 1, shares: [4, 4] },
    { generation: 1, fromStep: 4, shares: [6, 2] },
    { generation: 2, fromStep: 2, shares: [8] },
  ])
  store.close()
})

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
