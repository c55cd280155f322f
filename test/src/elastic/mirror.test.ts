import { temporaryFolder } from '@skein/testkit'
import type { Cluster } from 'skein/chaos'
import { describe, expect, it } from 'vitest'
import { type RunEvent, runSkein, type StepEvent, stepsOf } from '../skein-process.ts'
import { constantRateJob } from './constant-rate-job.ts'
import { isStep, startCluster, token, untilStep } from './start-cluster.ts'

/** One replica, of a model in so many parts: nobody has a part twice. */
const cut = (pp: number, every: number, vocabulary = 'whole') => ({
  model: { kind: 'gpt2', layers: 2, width: 32, heads: 2, context: 32 },
  batch: { global: 16, micro: 4 },
  mesh: { dp: 1, pp },
  schedule: { vocabulary },
  elastic: { mirror: { every } },
})

const isEvent = (name: string) => (event: RunEvent) => event.event === name
const newest = (events: readonly RunEvent[], name: string) => Number(events.findLast(isEvent(name))?.['step'])

/** The next generation that is formed, and what was known just before. */
async function nextStart(cluster: Cluster, from: number) {
  const formed = await cluster.until(isEvent('generation'), 'the next generation', { from })
  const before = cluster.events.slice(0, cluster.events.indexOf(formed))
  return { startStep: Number(formed['startStep']), reason: String(formed['reason']), before }
}

/** What holds of each step is what was committed last; it is what an undisturbed run of as many workers has, bit for bit. */
async function expectUndisturbed(steps: readonly StepEvent[], job: string, workers: number, runDir: string) {
  const held = [...new Map(steps.map(step => [step.step, step])).values()].toSorted((a, b) => a.step - b.step)
  expect(held.map(step => step.step)).toEqual(held.map((_, i) => i + 1))
  const args = ['train', job, '--workers', String(workers), '--steps', String(held.length), '--run-dir', runDir]
  const whole = stepsOf(await runSkein([...args, '--json']))
  const facts = ({ step, loss, digest, samples }: StepEvent) => ({ step, loss, digest, samples })
  expect(held.map(facts)).toEqual(whole.map(facts))
}

describe.each([
  [2, 'whole'],
  [3, 'sharded'],
])('one replica of a model in %i parts (a %s vocabulary), of which neighbours keep copies', (parts, vocabulary) => {
  it('loses one worker after the other, and goes on each time from the last mirrored step, without a checkpoint', async () => {
    using folder = temporaryFolder('mirror')
    const jobFile = constantRateJob(folder.path, { every: 0 }, cut(parts, 4, vocabulary))
    await using cluster = await startCluster(folder.path, { workers: parts, jobFile })
    for (const [i, victim] of ['w0', 'w1'].entries()) {
      const { length: since } = cluster.events
      const mirrored = await cluster.until(isEvent('mirrored'), 'a mirrored step', { from: since })
      await untilStep(cluster, Number(mirrored['step']) + 6)
      const { length: from } = cluster.events
      cluster.workers.get(victim)?.signal('SIGKILL')
      await cluster.startWorker(`n${i}`)
      const { startStep, reason, before } = await nextStart(cluster, from)
      expect(startStep).toBe(newest(before, 'mirrored'))
      expect(startStep).toBeGreaterThan(0)
      if (startStep < newest(before, 'step')) expect(reason).toContain('which they keep in memory')
      await cluster.until(event => isStep(event) && Number(event['step']) > newest(before, 'step'), 'a new step', {
        from,
      })
    }
    const response = await fetch(`${cluster.url}/status`, { headers: { authorization: `Bearer ${token}` } })
    const { mirror } = (await response.json()) as { mirror: { step: number } }
    expect(mirror.step).toBeGreaterThan(0)
    expect(cluster.events.some(isEvent('checkpoint'))).toBe(false)
    await cluster.stop()
    await cluster.ended
    await expectUndisturbed(stepsOf(cluster.events), jobFile, parts, `${folder.path}/whole`)
  })
})

describe('a part and the neighbour who keeps it', () => {
  it('die together: the run goes back to its checkpoint, and says why', async () => {
    using folder = temporaryFolder('mirror')
    const jobFile = constantRateJob(folder.path, { every: 40 }, cut(3, 4))
    await using cluster = await startCluster(folder.path, { workers: 3, jobFile })
    const saved = await cluster.until(isEvent('checkpoint'), 'a checkpoint')
    await cluster.until(
      event => event.event === 'mirrored' && Number(event['step']) > Number(saved['step']),
      'a mirror',
    )
    const { length: from } = cluster.events
    // Rank 0 keeps the part of rank 1.
    for (const workerId of ['w0', 'w1']) cluster.workers.get(workerId)?.signal('SIGKILL')
    for (const workerId of ['n0', 'n1']) await cluster.startWorker(workerId)
    const { startStep, reason, before } = await nextStart(cluster, from)
    expect(startStep).toBe(newest(before, 'checkpoint'))
    expect(reason).toContain('nobody is left who keeps part 1')
    await cluster.until(event => isStep(event) && Number(event['step']) > newest(before, 'step'), 'a new step', {
      from,
    })
    await cluster.stop()
    await cluster.ended
    await expectUndisturbed(stepsOf(cluster.events), jobFile, 3, `${folder.path}/whole`)
  })
})
