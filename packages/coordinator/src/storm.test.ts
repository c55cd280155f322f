import { fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { within } from '@skein/core'
import { temporaryFolder } from '@skein/testkit'
import { expect, onTestFinished, test } from 'vitest'
import { EventWatch, type SeenEvent } from './event-watch.test.support.ts'
import { FakeWorker } from './fake-worker.test.support.ts'
import type { CoordinatorOptions } from './start-coordinator.ts'

/*
 * Those who come, go and come again, with the bounds of docs/fault-matrix.md: a coordinator in a process of its own, light workers without a
 * device on real control links.
 */

const globalBatch = 64
const stepMs = 20
/** Of the defaults: at most one regrouping for newcomers in so long. */
const admitMs = 2_000
/** One machine runs everything, other tests too. */
const slackMs = 2_000

const isStep = (event: SeenEvent) => event.event === 'step'
const isGeneration = (event: SeenEvent) => event.event === 'generation'
const isMember = (workerId: string, change: string) => (event: SeenEvent) =>
  event.event === 'member' && event['workerId'] === workerId && event['change'] === change
const membersOf = (event: SeenEvent) => event['members'] as readonly { readonly workerId: string }[]
const isIn = (event: SeenEvent, workerId: string) => membersOf(event).some(member => member.workerId === workerId)

/** The longest time between two commits. */
function longestGapMs(events: readonly SeenEvent[]): number {
  const atMs = events.filter(isStep).map(event => event.atMs)
  return Math.max(...atMs.slice(1).map((ms, i) => ms - (atMs[i] ?? Number.NaN)))
}

/** A run in which w0 and w1 train. */
async function training() {
  const folder = temporaryFolder('storm')
  const options: CoordinatorOptions = {
    job: { name: 'stormy', steps: 1_000_000 },
    globalBatch,
    numWorkers: 2,
    maxWorkers: 64,
    token: 'a-token-of-the-tests',
    runDir: folder.path,
    logLevel: 'warn',
  }
  const child = fork(path.join(import.meta.dirname, 'coordinator.test.process.js'), [JSON.stringify(options)])
  const exited = once(child, 'exit')
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await exited
    folder[Symbol.dispose]()
  })
  const said = within(once(child, 'message'), { what: 'a port', timeoutMs: 30_000 })
  const [{ url, token }] = (await said) as [{ readonly url: string; readonly token: string }]
  const watch = new EventWatch(url, token)
  onTestFinished(() => watch.close())
  let incarnations = 0
  const join = async (workerId: string): Promise<FakeWorker> => {
    const incarnation = `${workerId}-${incarnations++}`
    const worker = await FakeWorker.join({ url, token, workerId, incarnation, globalBatch, catchesUp: true })
    // Ends when its link does, which is what is done to it here.
    worker.train(1_000_000, { stepMs }).catch(() => undefined)
    onTestFinished(() => worker.close())
    return worker
  }
  await Promise.all(['w0', 'w1'].map(join))
  await watch.until(event => isStep(event) && event['step'] === 5, 'step 5')
  return { watch, join }
}

test('twenty that join in one moment are all in after two regroupings, within 4 s, and twenty that die cost 5 s', async () => {
  const { watch, join } = await training()
  const { length: from } = watch.events
  const names = Array.from({ length: 20 }, (_, i) => `s${i}`)
  const startMs = performance.now()
  const storm = await Promise.all(names.map(join))
  const all = await watch.until(event => isStep(event) && event['workers'] === 22, 'a step of all')
  expect(all.atMs - startMs).toBeLessThan(2 * admitMs + slackMs)
  const formed = watch.events.slice(from).filter(isGeneration)
  expect(formed.length).toBeLessThanOrEqual(2)
  expect(longestGapMs(watch.events.slice(from))).toBeLessThan(slackMs)

  const { length: before } = watch.events
  const deadMs = performance.now()
  await Promise.all(storm.map(worker => worker.close()))
  const rest = await watch.until(event => isStep(event) && event['workers'] === 2, 'a step of those that are left', {
    from: before,
  })
  expect(rest.atMs - deadMs).toBeLessThan(5_000)
  console.log(
    watch.events.slice(before).filter(isGeneration).length,
    rest.atMs - deadMs,
    all.atMs - startMs,
    formed.length,
  )
  const steps = watch.events.filter(isStep).map(event => event['step'])
  expect(steps, 'none is made twice').toEqual(steps.map((_, i) => i + 1))
}, 60_000)

test('one that dies as often as it is taken in is taken in later and later, and never holds the others up', async () => {
  const { watch, join } = await training()
  const { length: from } = watch.events
  const flaps = 5
  const waitsMs: number[] = []
  const pausesMs: number[] = []
  for (let flap = 0; flap < flaps; flap++) {
    const { length: before } = watch.events
    const worker = await join('flap')
    const joined = await watch.until(isMember('flap', 'joined'), 'its join', { from: before })
    pausesMs.push(Number(/after (\d+) ms/.exec(String(joined['reason']))?.[1] ?? 0))
    const taken = await watch.until(event => isGeneration(event) && isIn(event, 'flap'), 'its generation', {
      from: before,
    })
    waitsMs.push(taken.atMs - joined.atMs)
    await watch.until(event => isStep(event) && event['workers'] === 3, 'a step with it', { from: before })
    await worker.close()
    await watch.until(event => isGeneration(event) && !isIn(event, 'flap'), 'a generation without it', {
      from: watch.events.indexOf(taken),
    })
  }
  // 0, 0, then 1, 2, 4 s, up to a quarter shorter.
  expect(pausesMs.slice(0, 2)).toEqual([0, 0])
  for (const [i, pauseMs] of pausesMs.slice(2).entries()) {
    expect(pauseMs).toBeLessThanOrEqual(1_000 * 2 ** i)
    expect(pauseMs).toBeGreaterThanOrEqual(750 * 2 ** i)
  }
  for (const [i, waitMs] of waitsMs.entries()) {
    const pauseMs = pausesMs[i] ?? Number.NaN
    // The clock that counts is the coordinator's, and this process may be late to see either event.
    expect(waitMs).toBeGreaterThan(pauseMs - 200)
    expect(waitMs).toBeLessThan(Math.max(pauseMs, admitMs) + slackMs)
  }
  const during = watch.events.slice(from)
  expect(during.filter(isGeneration), 'one to take it in, one when it dies').toHaveLength(2 * flaps)
  expect(longestGapMs(during)).toBeLessThan(slackMs)
}, 60_000)

test('a second process of the same name takes the place of the first at once, which is told so; the others lose one step', async () => {
  const { watch, join } = await training()
  const first = await join('twin')
  await watch.until(event => isStep(event) && event['workers'] === 3, 'a step with the first')
  const { length: before } = watch.events
  const startMs = performance.now()
  await join('twin')
  const { error } = await first.hears('refuse')
  expect(performance.now() - startMs).toBeLessThan(1_000)
  expect(error).toMatchObject({ code: 'SKEIN_MEMBERSHIP_REPLACED', details: { workerId: 'twin' } })
  await first.closed
  const step = await watch.until(isStep, 'a step of the others', { from: before })
  expect(step.atMs - startMs).toBeLessThan(slackMs)
  const again = await watch.until(event => isStep(event) && event['workers'] === 3, 'a step with the second', {
    from: watch.events.findIndex(isMember('twin', 'fenced')),
  })
  expect(again.atMs - startMs).toBeLessThan(2 * admitMs + slackMs)
  expect(watch.events.slice(before).filter(isMember('twin', 'fenced'))).toHaveLength(1)
}, 60_000)
