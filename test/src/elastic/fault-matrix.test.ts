import fs from 'node:fs'
import path from 'node:path'
import { sleep } from '@skein/core'
import { temporaryFolder } from '@skein/testkit'
import { type Cluster, type ClusterOptions, coordinatorNode } from 'skein/chaos'
import { describe, expect, it } from 'vitest'
import type { RunEvent } from '../skein-process.ts'
import { constantRateJob } from './constant-rate-job.ts'
import { expectWhole, untilLogged } from './run-records.ts'
import { isMember, isStep, startCluster, untilStep } from './start-cluster.ts'

/*
 * Rows of the fault matrix (docs/fault-matrix.md) that are about the network, each with its bound of time. Real processes; the links between them run
 * through this one. Where one machine also runs everything else a bound has some slack, said beside it.
 */

const slackMs = 3_000

const gone: ReadonlySet<unknown> = new Set(['lost', 'evicted', 'fenced', 'failed'])
const isGone = (event: RunEvent) => event.event === 'member' && gone.has(event['change'])

/** A run that trains. */
async function training(folder: string, more: Partial<ClusterOptions> = {}): Promise<Cluster> {
  const cluster = await startCluster(folder, { workers: 4, network: { seed: 1 }, ...more })
  await untilStep(cluster, 3)
  return cluster
}

/** The next commit from now on, and when it came. */
async function nextStep(cluster: Cluster, fits: (event: RunEvent) => boolean = () => true, timeoutMs = 40_000) {
  const { length: from } = cluster.events
  return cluster.until(event => isStep(event) && fits(event), 'the next step', { from, timeoutMs })
}

/** How long a step took to come that fits. */
async function timeTo(cluster: Cluster, fits: (event: RunEvent) => boolean, timeoutMs = 40_000): Promise<number> {
  const startMs = performance.now()
  await nextStep(cluster, fits, timeoutMs)
  return performance.now() - startMs
}

const stepOfWorkers = (workers: number) => (event: RunEvent) => event['workers'] === workers

describe('a worker that is cut off, both ways', () => {
  it('is gone within 10 s for the others, applies nothing, and comes back when the network is whole', async () => {
    using folder = temporaryFolder('partition')
    await using cluster = await training(folder.path)
    const heal = cluster.network?.cut('w1', cluster.peersOf('w1'))
    expect(await timeTo(cluster, stepOfWorkers(3))).toBeLessThan(10_000 + slackMs)
    expect(cluster.events.find(isGone)).toMatchObject({ workerId: 'w1', change: 'lost' })
    // Its own log says when it stood still; by 15 s at the latest it has given up its generation.
    await untilLogged(path.join(folder.path, 'run'), 'w1', 'coordinator.lost', 15_000 - 5_000 + slackMs)
    const last = cluster.events.findLast(event => isStep(event) && event['workers'] === 4)
    heal?.()
    await nextStep(cluster, stepOfWorkers(4))
    const admitted = cluster.events.findLast(event => event.event === 'generation')
    expect(Number(admitted?.['startStep'])).toBeGreaterThan(Number(last?.['step']))
    expectWhole(cluster, path.join(folder.path, 'run'), 16)
  })
})

describe('a link that carries nothing, one way, while both of its ends reach the coordinator', () => {
  it('costs 10 s of stall and 5 s: the end with the higher name is put out, the others go on', async () => {
    using folder = temporaryFolder('one-way')
    await using cluster = await training(folder.path)
    const heal = cluster.network?.edge('w0', 'w1').cut()
    expect(await timeTo(cluster, stepOfWorkers(3))).toBeLessThan(15_000 + slackMs)
    const evicted = cluster.events.filter(isGone)
    expect(evicted[0]).toMatchObject({ workerId: 'w1', change: 'evicted' })
    expect(String(evicted[0]?.['reason'])).toContain('w0 to w1')
    heal?.()
    await nextStep(cluster, stepOfWorkers(4), 60_000)
    expect(cluster.events.filter(isGone).every(event => ['w0', 'w1'].includes(String(event['workerId'])))).toBe(true)
    expectWhole(cluster, path.join(folder.path, 'run'), 16)
  })
})

describe('frames that are altered on their way', () => {
  it('are made again within 2 s, with the same members; whose frames are altered a third time is put out', async () => {
    using folder = temporaryFolder('corrupt')
    await using cluster = await training(folder.path)
    for (let time = 1; time <= 3; time++) {
      const hit = new Promise<void>(resolve => {
        cluster.network?.frames('w2').arm({}, frame => {
          frame.corrupt()
          resolve()
        })
      })
      await hit
      const before = Number(cluster.events.findLast(event => event.event === 'generation')?.['generation'])
      const tookMs = await timeTo(cluster, event => Number(event['generation']) > before)
      expect(tookMs).toBeLessThan(2_000 + slackMs)
      expect(cluster.events.filter(isGone)).toHaveLength(time === 3 ? 1 : 0)
    }
    const [out] = cluster.events.filter(isGone)
    expect(out).toMatchObject({ workerId: 'w2', change: 'evicted' })
    expectWhole(cluster, path.join(folder.path, 'run'), 16)
  })
})

describe('a slow link, and a wall clock that jumps', () => {
  it('is never a death, and gives the same bits; an hour more or less on every clock is nothing', async () => {
    using folder = temporaryFolder('slow')
    const jobFile = constantRateJob(folder.path)
    const steps = 30
    const digests = async (name: string, disturb: (cluster: Cluster) => Promise<void>) => {
      const runDir = path.join(folder.path, name, 'run')
      await using cluster = await training(folder.path, { jobFile, workers: 2, steps, runDir, canJump: true })
      await disturb(cluster)
      expect(await cluster.ended).toMatchObject({ event: 'done', steps })
      expect(cluster.events.filter(isGone)).toEqual([])
      expect(cluster.events.filter(event => event.event === 'generation')).toHaveLength(1)
      return cluster.events.filter(isStep).map(event => event['digest'])
    }
    const undisturbed = await digests('fast', () => Promise.resolve())
    const disturbed = await digests('slow', async cluster => {
      cluster.network?.edge('w0', 'w1').reshape({ rateMbit: 10, delayMs: 40, jitterMs: 10 })
      const aheadMs = 3_600_000
      for (const node of ['w0', coordinatorNode]) cluster.jump(node, aheadMs)
      cluster.jump('w1', -aheadMs)
      await untilStep(cluster, 15)
      for (const node of ['w0', 'w1', coordinatorNode]) cluster.jump(node, 0)
    })
    expect(disturbed).toEqual(undisturbed)
    expect(new Set(undisturbed).size).toBe(steps)
  })
})

describe('fewer workers than the minimum', () => {
  it('pause the run within 15 s, with an alarm, and keep its state until the others are back', async () => {
    using folder = temporaryFolder('below-minimum')
    const jobFile = path.join(folder.path, 'minimum.job.yaml')
    const job = JSON.parse(fs.readFileSync(constantRateJob(folder.path), 'utf8')) as object
    fs.writeFileSync(jobFile, JSON.stringify({ ...job, elastic: { min: 2, max: 4 } }))
    await using cluster = await training(folder.path, { jobFile, workers: 2 })
    const startMs = performance.now()
    const heal = cluster.network?.cut('w1', cluster.peersOf('w1'))
    const paused = await cluster.until(event => event.event === 'paused', 'the pause')
    expect(performance.now() - startMs).toBeLessThan(15_000)
    expect(paused['reason']).toBeTruthy()
    const numSteps = cluster.events.filter(isStep).length
    await sleep(1_000)
    expect(cluster.events.filter(isStep), 'no step is made alone').toHaveLength(numSteps)
    heal?.()
    await nextStep(cluster, stepOfWorkers(2))
    expect(cluster.events.filter(isStep)[numSteps]?.['step']).toBe(numSteps + 1)
    expectWhole(cluster, path.join(folder.path, 'run'), 16)
  })
})

describe('a worker that is killed at one frame of a collective', () => {
  it('leaves the others at the last commit, from which they go on within 5 s', async () => {
    using folder = temporaryFolder('killed-at')
    await using cluster = await training(folder.path)
    const place = { op: 0, chunk: 0 }
    const killed = new Promise<void>(resolve => {
      cluster.network?.frames('w2').arm(place, frame => {
        frame.stop()
        cluster.workers.get('w2')?.killNow()
        resolve()
      })
    })
    await killed
    expect(await timeTo(cluster, stepOfWorkers(3))).toBeLessThan(5_000 + slackMs)
    expect(cluster.events.filter(isMember('w2', 'lost'))).toHaveLength(1)
    expectWhole(cluster, path.join(folder.path, 'run'), 16)
  })
})
