import { temporaryFolder } from '@skein/testkit'
import type { Cluster } from 'skein/chaos'
import { describe, expect, it } from 'vitest'
import { runSkein, type StepEvent, stepsOf } from '../skein-process.ts'
import { constantRateJob } from './constant-rate-job.ts'
import { isMember, isStep, startCluster, token, untilStep } from './start-cluster.ts'

const cut = (dp: number, vocabulary: string) => ({
  model: { kind: 'gpt2', layers: 2, width: 32, heads: 2, context: 32 },
  batch: { global: 16, micro: 4 },
  mesh: { dp, pp: 2 },
  schedule: { vocabulary },
})

/** Each step once, each sample once, and what one worker with the whole model learns. */
async function expectLearned(steps: readonly StepEvent[], job: string, runDir: string): Promise<void> {
  expect(steps.map(step => step.step)).toEqual(steps.map((_, i) => i + 1))
  expect(steps.map(step => step.samples)).toEqual(steps.map((_, i) => [16 * i, 16 * (i + 1)]))
  const args = ['train', job, '--pp', '1', '--workers', '1', '--steps', String(steps.length), '--run-dir', runDir]
  const whole = stepsOf(await runSkein([...args, '--json']))
  for (const [i, step] of steps.entries()) {
    // Float32 sums in another order.
    expect(Math.abs(step.loss - (whole[i]?.loss ?? Number.NaN)), `step ${step.step}`).toBeLessThan(1e-3)
  }
}

/** Rank and part of each worker. */
async function placesOf(cluster: Cluster): Promise<readonly (readonly [rank: number | null, part: number | null])[]> {
  const response = await fetch(`${cluster.url}/status`, { headers: { authorization: `Bearer ${token}` } })
  const { members } = (await response.json()) as { members: { rank: number | null; part: number | null }[] }
  return members.map(({ rank, part }) => [rank, part] as const)
}

const vocabularies = ['whole', 'sharded']

describe.each(vocabularies)('two replicas of a model in two parts, the vocabulary %s', vocabulary => {
  it('lose a worker: one replica goes on without a step lost, and a newcomer completes the other', async () => {
    using folder = temporaryFolder('parts')
    const jobFile = constantRateJob(folder.path, {}, cut(2, vocabulary))
    await using cluster = await startCluster(folder.path, { workers: 4, jobFile })
    await untilStep(cluster, 3)
    const { length: from } = cluster.events
    cluster.workers.get('w1')?.signal('SIGKILL')
    const one = await cluster.until(event => isStep(event) && event['workers'] === 2, 'one replica', { from })
    // Whoever is left over stands by, and completes a replica with whoever comes.
    const places = await placesOf(cluster)
    expect(places.filter(([rank]) => rank === null)).toHaveLength(1)
    const seated = places.filter(([rank]) => rank !== null).toSorted(([a], [b]) => Number(a) - Number(b))
    expect(seated).toEqual([
      [0, 0],
      [1, 1],
    ])
    await cluster.startWorker('w4')
    const again = await cluster.until(event => isStep(event) && event['workers'] === 4, 'two replicas', {
      from: cluster.events.indexOf(one),
    })
    // It has put its part together while they trained.
    expect(cluster.events.some(isMember('w4', 'caught-up'))).toBe(true)
    await untilStep(cluster, Number(again['step']) + 3)
    await cluster.stop()
    const done = await cluster.ended
    expect(String(done['checkpoint'])).toMatch(new RegExp(`step-0*${String(done['steps'])}$`))
    await expectLearned(stepsOf(cluster.events), jobFile, `${folder.path}/whole`)
  })
})

describe.each(vocabularies)('one replica of a model in two parts, the vocabulary %s', vocabulary => {
  it('loses a worker, and goes back to its checkpoint when another one has come', async () => {
    using folder = temporaryFolder('parts')
    const jobFile = constantRateJob(folder.path, { every: 5 }, cut(1, vocabulary))
    await using cluster = await startCluster(folder.path, { workers: 2, jobFile })
    const saved = await cluster.until(event => event.event === 'checkpoint', 'a checkpoint')
    await untilStep(cluster, Number(saved['step']) + 2)
    cluster.workers.get('w0')?.signal('SIGKILL')
    await cluster.until(event => event.event === 'paused', 'a pause')
    const { length: from } = cluster.events
    await cluster.startWorker('w2')
    const formed = await cluster.until(event => event.event === 'generation', 'the next generation', { from })
    const newest = cluster.events.slice(0, from).findLast(event => event.event === 'checkpoint')
    const startStep = Number(formed['startStep'])
    expect(startStep).toBe(newest?.['step'])
    await cluster.until(event => isStep(event) && Number(event['step']) >= startStep + 3, 'steps', { from })
    await cluster.stop()
    await cluster.ended
    // Of a step that was made again the last one holds.
    const steps = new Map(stepsOf(cluster.events).map(step => [step.step, step]))
    await expectLearned([...steps.values()], jobFile, `${folder.path}/whole`)
  })
})
