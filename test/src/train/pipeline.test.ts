import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { beforeAll, describe, expect, it } from 'vitest'
import { root, runSkein, startSkein, stepsOf, tinyJob } from '../skein-process.ts'

const steps = 8

async function run(...flags: string[]) {
  using folder = temporaryFolder('pipeline-')
  const common = ['train', tinyJob, '--steps', String(steps), '--run-dir', folder.path, '--json']
  const events = await runSkein([...common, ...flags])
  const heldOut = events.findLast(({ event }) => event === 'eval')?.['loss'] as number
  return { events, steps: stepsOf(events), heldOut }
}

describe('pipelines in real processes', () => {
  let whole: Awaited<ReturnType<typeof run>>
  beforeAll(async () => {
    whole = await run('--workers', '1')
  })

  const meshes = [
    ['1f1b', 2, 2],
    ['zb-h1', 2, 4],
    ['zb-v', 2, 2],
    ['1f1b', 4, 4],
  ] as const
  for (const [schedule, pp, workers] of meshes) {
    it(`${schedule} in ${pp} parts on ${workers} workers learns what one worker with the whole model learns`, async () => {
      const cut = await run('--pp', String(pp), '--workers', String(workers), '--schedule', schedule)
      expect(cut.steps.map(({ step }) => step)).toEqual(Array.from({ length: steps }, (_, i) => i + 1))
      for (const [i, { loss, samples, digest }] of cut.steps.entries()) {
        const there = whole.steps[i]
        expect(Math.abs(loss - (there?.loss ?? Number.NaN)) / loss).toBeLessThan(1e-5)
        expect(samples).toEqual(there?.samples)
        expect(digest).toMatch(/^[0-9a-f]{16}$/)
      }
      // The untrained model is tried on fewer samples, in whole microbatches.
      expect(Math.abs(cut.heldOut / whole.heldOut - 1)).toBeLessThan(1e-5)
      const [formed] = cut.events.filter(event => event.event === 'generation')
      const members = formed?.['members'] as { rank: number; part: number }[]
      expect(members.map(({ rank, part }) => [rank, part])).toEqual(
        Array.from({ length: workers }, (_, rank) => [rank, rank % pp]),
      )
    })
  }

  it('gives the same bits when the same run is made twice', async () => {
    const [first, second] = [await run('--pp', '2', '--workers', '4'), await run('--pp', '2', '--workers', '4')]
    expect(second.steps.map(({ digest }) => digest)).toEqual(first.steps.map(({ digest }) => digest))
  })

  it("cuts a model of the user's own, and goes on from what one worker has learned as that does", async () => {
    using folder = temporaryFolder('pipeline-layers-')
    const convnet = path.join(root, 'packages/examples/convnet.job.ts')
    const train = async (name: string, ...flags: string[]) => {
      const common = ['train', convnet, '--run-dir', path.join(folder.path, name), '--json']
      return stepsOf(await runSkein([...common, ...flags]))
    }
    await train('begun', '--pp', '1', '--workers', '1', '--steps', '3')
    const resume = ['--resume', path.join(folder.path, 'begun'), '--steps', '8']
    const one = await train('whole', ...resume, '--pp', '1', '--workers', '1')
    const cut = await train('cut', ...resume, '--pp', '2', '--workers', '4', '--schedule', 'zb-h1')
    expect(cut.map(({ step }) => step)).toEqual([4, 5, 6, 7, 8])
    for (const [i, { loss }] of cut.entries()) expect(Math.abs(loss / (one[i]?.loss ?? 0) - 1)).toBeLessThan(1e-5)
  })

  const vocabularies = ['whole', 'sharded']
  it.each(vocabularies)(
    'leaves a trace of what every device did, beside what the schedule would do (a %s vocabulary)',
    async vocabulary => {
      using folder = temporaryFolder('pipeline-trace-')
      const mesh = ['--pp', '2', '--workers', '4', '--schedule', 'zb-h1', '--vocabulary', vocabulary]
      await runSkein(['train', tinyJob, ...mesh, '--steps', '3', '--run-dir', folder.path, '--json'])
      const out = path.join(folder.path, 'trace.json')
      const { code, stderr } = await startSkein(['trace', folder.path, '--out', out]).ended
      expect(stderr).toMatch(/^step 2 of zb-h1.*: executed in [\d.]+, [\d.]+ ms, simulated in [\d.]+ ms/mu)
      expect(code).toBe(0)
      const { traceEvents } = JSON.parse(fs.readFileSync(out, 'utf8')) as { traceEvents: TraceSpan[] }
      const spans = (pid: number) => traceEvents.filter(event => event.ph === 'X' && event.pid === pid)
      const [simulated, ...executed] = [0, 1, 2].map(spans)
      expect(simulated?.length).toBeGreaterThan(0)
      expect(simulated?.filter(({ name }) => name === 'S 1')).toHaveLength(vocabulary === 'sharded' ? 2 : 0)
      for (const replica of executed) {
        expect(replica.map(({ name, tid }) => `${tid} ${name}`)).toEqual(
          simulated?.map(({ name, tid }) => `${tid} ${name}`),
        )
        for (const { dur = 0 } of replica) expect(dur).toBeGreaterThan(0)
      }
    },
  )
})

interface TraceSpan {
  readonly ph: string
  readonly pid: number
  readonly tid: number
  readonly name: string
  readonly dur?: number
}
