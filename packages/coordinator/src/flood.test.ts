import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { within } from '@skein/core'
import { temporaryFolder, useTestSeed } from '@skein/testkit'
import { expect, onTestFinished, test, vi } from 'vitest'
import { FakeWorker } from './fake-worker.test.support.ts'
import type { CoordinatorStatus } from './status.ts'

const seed = useTestSeed()
const numStrangers = 10_000
/** The default of the coordinator. */
const maxStrangers = 256
const MiB = 2 ** 20

function start(name: string, options: object): ChildProcess {
  const child = fork(path.join(import.meta.dirname, `${name}.test.process.js`), [JSON.stringify(options)])
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

async function said<T>(child: ChildProcess, what: string): Promise<T> {
  const [message] = (await within(once(child, 'message'), { what, timeoutMs: 30_000 })) as [T]
  return message
}

test('ten thousand half-open connections cost members nothing: links stay, one more joins, memory is bounded, all are counted', async () => {
  using folder = temporaryFolder('flood')
  const coordinator = start('coordinator', {
    job: { name: 'flooded', steps: 3, batch: { global: 8 } },
    numWorkers: 5,
    runDir: folder.path,
  })
  const { url, token, rssBytes } = await said<{ url: string; token: string; rssBytes: number }>(coordinator, 'a port')
  const join = (workerId: string) => FakeWorker.join({ url, token, workerId })
  const status = async (): Promise<CoordinatorStatus> => {
    const response = await fetch(`${url}/status`, { headers: { authorization: `Bearer ${token}` } })
    return (await response.json()) as CoordinatorStatus
  }
  const putOut = async () => {
    const { halfOpen = 0, slow = 0 } = (await status()).refused
    return { halfOpen, all: halfOpen + slow }
  }

  const members = await Promise.all(['w0', 'w1', 'w2', 'w3'].map(join))
  const lost: string[] = []
  for (const member of members) void member.closed.then(how => lost.push(how))
  let beats = 0
  const beating = setInterval(() => {
    beats++
    for (const member of members) void member.send({ type: 'heartbeat', progress: beats, step: 0, opsEntered: 0 })
  }, 100)
  onTestFinished(() => clearInterval(beating))

  const flood = start('flood', { port: Number(new URL(url).port), count: numStrangers, seed })
  const flooded = said<{ connected: number }>(flood, 'the flood')
  // In the middle of it, from an address that the flood does not use.
  await vi.waitUntil(async () => (await putOut()).halfOpen > numStrangers / 5, { timeout: 30_000, interval: 20 })
  const before = (await putOut()).halfOpen
  const fifth = await join('w4')
  members.push(fifth)
  const generation = await Promise.all(members.map(member => member.hears('generation')))
  expect(before).toBeLessThan(numStrangers - maxStrangers)
  expect(new Set(generation.map(({ members: all }) => all.length))).toEqual(new Set([5]))

  expect((await flooded).connected).toBe(numStrangers)
  await vi.waitUntil(async () => (await putOut()).all === numStrangers, { timeout: 30_000, interval: 100 })
  const after = await status()
  expect(Object.keys(after.refused).toSorted()).toEqual(['halfOpen', 'slow'])
  expect(after.refused.slow).toBeLessThanOrEqual(maxStrangers)
  expect(lost).toEqual([])
  expect(after.members.map(({ state }) => state)).toEqual(Array(5).fill('preparing'))
  for (const { lastSeenMs, workerId } of after.members.slice(0, 4)) expect(lastSeenMs, workerId).toBeLessThan(1_000)

  coordinator.send('how large?')
  const { peakBytes } = await said<{ peakBytes: number }>(coordinator, 'its size')
  console.info(
    `resident set: ${(rssBytes / MiB).toFixed(0)} MiB before, at most ${(peakBytes / MiB).toFixed(0)} MiB after ${numStrangers} strangers`,
  )
  // The limit times a socket with its parser is below 8 MiB; the rest is what V8 lets lie until it has to collect.
  expect(peakBytes - rssBytes).toBeLessThan(96 * MiB)
  await Promise.all(members.map(member => member.close()))
}, 120_000)
