import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { sleep } from '@skein/core'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import type { RunEvent } from '../skein-process.ts'
import { expectWhole, untilLogged } from './run-records.ts'
import { isMember, isStep, startCluster, untilStep } from './start-cluster.ts'

const jobFile = fileURLToPath(new URL('../../../packages/bench/dist/paced.job.js', import.meta.url))
const globalBatch = 6
/** Small enough that the updates of two steps, which are still to come when its generation is formed, come to the newcomer in the time for preparing. */
const width = 1320
/** Three workers, and room for a fourth; a step takes two samples' time. */
const pacedBy = (sampleMs: number) => ({
  ...process.env,
  PACED_SAMPLE_MS: String(sampleMs),
  PACED_WORKERS: '3',
  PACED_MAX: '4',
  PACED_WIDTH: String(width),
})
/** Parameters and two moments of the job's layer. */
const stateBytes = 12 * width * (width + 1)
/** Of each connection of the newcomer. */
const slowLink = { rateMbit: 20, delayMs: 5 }
const bytesPerMs = (slowLink.rateMbit * 1e6) / 8 / 1000
/** The whole state from two members cannot come sooner. */
const wholeStateMs = stateBytes / (2 * bytesPerMs)
/** After which a newcomer to whom nobody gives state is told of. */
const silentMs = 10_000
/** One machine runs everything. */
const slackMs = 2_000

const isGeneration = (number: number) => (event: RunEvent) =>
  event.event === 'generation' && event['generation'] === number
const isStartOf = (number: number) => (event: RunEvent) => event.event === 'start' && event['generation'] === number
const isCaughtUp = (event: RunEvent) => event.event === 'member' && event['change'] === 'caught-up'
const membersOf = (event: RunEvent) => (event['members'] as { workerId: string }[]).map(({ workerId }) => workerId)

describe('a newcomer on slow links, one of whose sources is killed', () => {
  it('holds nobody up: the others go on without it, it goes on with what it has, and is taken in when it is near', async () => {
    expect(wholeStateMs).toBeGreaterThan(2_000 + slackMs)
    using folder = temporaryFolder('late-joiner')
    const runDir = path.join(folder.path, 'run')
    const atMs = new Map<RunEvent, number>()
    await using cluster = await startCluster(folder.path, {
      jobFile,
      workers: 3,
      steps: 1000,
      env: pacedBy(700),
      network: { seed: 1 },
      onEvent: event => atMs.set(event, performance.now()),
    })
    const msBetween = (from: RunEvent, to: RunEvent) => (atMs.get(to) ?? Number.NaN) - (atMs.get(from) ?? Number.NaN)
    for (const peer of ['w0', 'w1', 'w2']) {
      cluster.network?.edge(peer, 'w3').reshape(slowLink)
      cluster.network?.edge('w3', peer).reshape(slowLink)
    }
    await untilStep(cluster, 1)
    await cluster.startWorker('w3')
    await untilLogged(runDir, 'w3', 'catch-up.start', 30_000)
    // Longer than a chunk takes, and shorter than all of them from three sources.
    await sleep(2_000)
    expect(cluster.events.filter(isCaughtUp)).toEqual([])

    const killedMs = performance.now()
    cluster.workers.get('w1')?.killNow()
    const second = await cluster.until(isGeneration(2), 'the second generation')
    expect(membersOf(second)).toEqual(['w0', 'w2'])
    const step = await cluster.until(event => isStep(event) && event['generation'] === 2, 'a step without w1')
    expect(performance.now() - killedMs).toBeLessThan(5_000 + slackMs)
    expect(step['step']).toBe(Number(second['startStep']) + 1)
    const again = await untilLogged(runDir, 'w3', 'catch-up.start', 5_000, line => line['generation'] === 2)
    expect(again['chunksHeld']).toBeGreaterThan(0)

    const caughtUp = await cluster.until(isCaughtUp, 'w3 to catch up')
    const third = await cluster.until(isGeneration(3), 'the third generation')
    expect(membersOf(third)).toEqual(['w0', 'w2', 'w3'])
    const stepsTo = (event: RunEvent) => cluster.events.slice(0, cluster.events.indexOf(event)).filter(isStep).length
    expect(stepsTo(third) - stepsTo(caughtUp)).toBe(2)
    const start = await cluster.until(isStartOf(3), 'its start')
    expect(msBetween(third, start)).toBeLessThan(2_000 + slackMs)
    const last = cluster.events.filter(isStep)[Number(third['startStep']) - 1]
    expect(start['digest']).toBe(last?.['digest'])

    // Its moments are right too: all agree on what follows.
    const next = await cluster.until(event => isStep(event) && event['generation'] === 3, 'a step with w3')
    expect(next).toMatchObject({ step: Number(third['startStep']) + 1, workers: 3 })
    const changes = cluster.events.filter(event => event.event === 'member').map(event => event['change'])
    expect(changes.filter(change => ['lost', 'evicted', 'fenced', 'failed'].includes(String(change)))).toEqual(['lost'])
    expectWhole(cluster, runDir, globalBatch)
  }, 120_000)
})

describe('a newcomer to whom no member answers', () => {
  it('is told of within 10 s, asks on, holds nobody up, and is taken in when they answer', async () => {
    using folder = temporaryFolder('unanswered')
    const runDir = path.join(folder.path, 'run')
    const atMs = new Map<RunEvent, number>()
    await using cluster = await startCluster(folder.path, {
      jobFile,
      workers: 3,
      steps: 10_000,
      env: pacedBy(50),
      network: { seed: 1 },
      onEvent: event => atMs.set(event, performance.now()),
    })
    const members = ['w0', 'w1', 'w2']
    // The coordinator hears it, so it is no partition that anyone else notices.
    const heal = cluster.network?.cut('w3', members)
    await untilStep(cluster, 1)
    await cluster.startWorker('w3')
    await untilLogged(runDir, 'w3', 'catch-up.start', 30_000)
    const { length: from } = cluster.events
    const startMs = performance.now()
    const told = await cluster.until(isMember('w3', 'cannot-catch-up'), 'the silence to be told of')
    const tookMs = (atMs.get(told) ?? Number.NaN) - startMs
    expect(tookMs).toBeGreaterThan(silentMs - slackMs)
    expect(tookMs).toBeLessThan(silentMs + slackMs)
    expect(told['reason']).toMatch(
      /no state has come from worker w0, worker w1, worker w2 for 10 s: .*nothing came for 3000 ms/,
    )

    // Nobody waited for it: a step takes a tenth of a second.
    expect(cluster.events.filter(isCaughtUp)).toEqual([])
    expect(cluster.events.filter(event => event.event === 'generation')).toHaveLength(1)
    const stepsMs = cluster.events.slice(from).flatMap(event => (isStep(event) ? [atMs.get(event) ?? Number.NaN] : []))
    expect(Math.max(...stepsMs.slice(1).map((ms, i) => ms - (stepsMs[i] ?? Number.NaN)))).toBeLessThan(slackMs)

    heal?.()
    const healedMs = performance.now()
    const caughtUp = await cluster.until(isCaughtUp, 'w3 to catch up')
    expect(caughtUp['workerId']).toBe('w3')
    // What was swallowed is given up after 3 s at the latest, and then the state is a second's work.
    expect((atMs.get(caughtUp) ?? Number.NaN) - healedMs).toBeLessThan(5_000 + slackMs)
    const next = await cluster.until(event => isStep(event) && event['generation'] === 2, 'a step with w3')
    expect(next['workers']).toBe(4)
    const changes = cluster.events.filter(event => event.event === 'member').map(event => event['change'])
    expect(changes.filter(change => ['lost', 'evicted', 'fenced', 'failed'].includes(String(change)))).toEqual([])
    expectWhole(cluster, runDir, globalBatch)
  }, 120_000)
})
