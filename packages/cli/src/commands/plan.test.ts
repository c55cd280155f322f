import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { jobSchedule, resolveJob } from '@skein/job'
import { planPipeline, scheduleOf } from '@skein/planner'
import { usualMachine } from '../costs-file.ts'
import { runCommandLine } from '../program.ts'
import { scheduleKey } from './plan.ts'

let out = ''
let folder = ''
beforeEach(() => {
  out = ''
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-plan-'))
  for (const stream of [process.stdout, process.stderr]) {
    vi.spyOn(stream, 'write').mockImplementation(text => {
      out += String(text)
      return true
    })
  }
})
afterEach(() => {
  vi.restoreAllMocks()
  fs.rmSync(folder, { recursive: true })
})

const unit = {
  name: 'h',
  forward: 10,
  inputGrad: 10,
  weightGrad: 10,
  backward: 20,
  activationBytes: 8 << 20,
  boundaryBytes: 1 << 20,
  parameterBytes: 1 << 20,
}

const vocabulary = {
  ranks: 4,
  first: { ...unit, name: 'first', forward: 0.1, inputGrad: 0.1, weightGrad: 0.1, backward: 0.2 },
  last: { ...unit, name: 'last', forward: 0.2, inputGrad: 0.2, weightGrad: 0.2, backward: 0.4 },
  lookup: 0.3,
  logits: 4,
  gradients: 7,
  lookupGrad: 0.7,
  activationBytes: 1 << 20,
  parameterBytes: 1 << 20,
  boundaryBytes: 1 << 20,
  foundBytes: 1 << 10,
}

/** A model of eight units and its costs. */
function plan(
  args: readonly string[],
  { global = 8, pp = 4, costs = { units: Array(8).fill(unit) } as unknown, keys = {} as object } = {},
) {
  const job = path.join(folder, 'a.job.json')
  const model = { kind: 'gpt2', layers: 6, width: 32, heads: 2, context: 16 }
  const sizes = { batch: { global, micro: 1 }, mesh: { pp }, steps: 1 }
  fs.writeFileSync(job, JSON.stringify({ model, data: folder, ...sizes, ...keys }))
  const file = path.join(folder, 'costs.json')
  fs.writeFileSync(file, typeof costs === 'string' ? costs : JSON.stringify(costs))
  return runCommandLine(['plan', job, '--costs', file, ...args])
}

interface Answer {
  readonly ranks: number
  readonly microbatches: number
  readonly schedule: { readonly name: string; readonly chunks: number; readonly cuts: number[] }
  readonly candidates: { readonly name: string; readonly stepMs: number; readonly peakBytes: number }[]
  readonly tooLarge: { readonly peakBytes: number }[]
}

test('lists the schedules that fit, the quickest first, and what the job has to say for it', async () => {
  expect(await plan(['--memory', '80MiB', '--top', '5'])).toBe(0)
  const lines = out.split('\n')
  expect(lines[0]).toBe('a: 8 units on 4 ranks, 8 microbatches of 1 sample, at most 80.0 MiB a rank')
  expect(lines[2]).toMatch(/^a sharded vocabulary is not considered: of its times the costs have none/u)
  expect(lines[4]).toMatch(/^schedule +with +units of each stage +step +idle +memory +activations +messages +state$/u)
  const steps = lines.slice(5, 10).map(line => Number(/(\d+) ms/u.exec(line)?.[1]))
  expect(steps).toEqual(steps.toSorted((a, b) => a - b))
  expect(out).toMatch(/\d+ need more memory, from /u)
  expect(out).toMatch(/not there: pipedream: it updates after every microbatch/u)
  expect(out).toMatch(/for the job: schedule: \{"name":"[\w-]+","chunks":\d,.*"cuts":\[\d/u)
})

test('the same as JSON; more memory is a shorter step', async () => {
  const answerOf = async (memory: string): Promise<Answer> => {
    out = ''
    expect(await plan(['--memory', memory, '--json'])).toBe(0)
    return JSON.parse(out) as Answer
  }
  const [little, much] = [await answerOf('70MiB'), await answerOf('1GiB')]
  expect(little).toMatchObject({ ranks: 4, microbatches: 8 })
  expect(much.candidates[0]?.stepMs).toBeLessThan(little.candidates[0]?.stepMs as number)
  for (const { peakBytes } of little.candidates) expect(peakBytes).toBeLessThanOrEqual(70 << 20)
  for (const { peakBytes } of little.tooLarge) expect(peakBytes).toBeGreaterThan(70 << 20)
  expect(much.tooLarge).toEqual([])
  expect(little.schedule.cuts).toHaveLength(4 * little.schedule.chunks - 1)
})

test.each<object>([
  { schedule: { name: '1f1b', cuts: [2] } },
  { schedule: { name: '1f1b', vocabulary: 'sharded', costs: { stages: [] } } },
  { elastic: { min: 2, max: 2 } },
  { batch: { global: 8, micro: 1, shares: 'measured' } },
  { batch: { global: 8, micro: 2 }, eval: { samples: 1 } },
])('what only training goes by does not stand in the way of another cut (%#)', async keys => {
  expect(await plan(['--ranks', '4'], { pp: 2, keys })).toBe(0)
  expect(out).toMatch(/8 units on 4 ranks/u)
})

test('measures the costs of the units where none are given, and keeps them for other machines', async () => {
  const job = path.join(folder, 'tiny.job.json')
  const model = { kind: 'gpt2', layers: 2, width: 16, heads: 2, context: 16 }
  fs.writeFileSync(
    job,
    JSON.stringify({ model, data: folder, batch: { global: 4, micro: 1 }, mesh: { pp: 2 }, steps: 1 }),
  )
  const saved = path.join(folder, 'costs', 'tiny.json')
  expect(await runCommandLine(['plan', job, '--json', '--save-costs', saved])).toBe(0)
  const first = JSON.parse(out) as Answer
  const costs = JSON.parse(fs.readFileSync(saved, 'utf8')) as {
    units: { name: string; forward: number }[]
    vocabulary: { logits: number }
  }
  expect(costs.units.map(({ name }) => name)).toEqual([
    'transformer.wte',
    'transformer.h.0',
    'transformer.h.1',
    'transformer.ln_f',
  ])
  for (const { forward } of costs.units) expect(forward).toBeGreaterThan(0)
  expect(costs.vocabulary).toMatchObject({ ranks: 2, parameterBytes: 4 * 128 * 16, boundaryBytes: 4 * 16 * 16 })
  expect(costs.vocabulary.logits).toBeGreaterThan(0)
  out = ''
  expect(await runCommandLine(['plan', job, '--json', '--costs', saved])).toBe(0)
  expect(JSON.parse(out)).toEqual(first)
})

test.each([
  ['whole', 0],
  ['sharded', 40],
] as const)('what is planned is what a job with that schedule runs (a %s vocabulary)', (kind, headMs) => {
  const head = { ...unit, forward: headMs, inputGrad: headMs, weightGrad: headMs, backward: 2 * headMs }
  const options = {
    ranks: 4,
    microbatches: 8,
    units: [...Array.from({ length: 7 }, (_, i) => ({ ...unit, forward: 10 + i / 3 })), head],
    machine: { ...usualMachine, copyBytesPerMs: 1e7 },
    vocabulary,
  }
  const { candidates } = planPipeline(options)
  const ofKind = candidates.filter(one => (one.vocabulary ?? 'whole') === kind)
  expect(ofKind.some(({ cap }) => cap !== undefined)).toBe(true)
  expect(new Set(ofKind.map(({ name }) => name)).size).toBeGreaterThan(7)
  for (const candidate of ofKind) {
    const model = { kind: 'gpt2', layers: 6, width: 32, heads: 2, context: 16 }
    const value = { model, data: folder, batch: { global: 8, micro: 1 }, mesh: { pp: 4 }, steps: 1 }
    const job = resolveJob({ ...value, schedule: scheduleKey(candidate) }, { jobFile: '/jobs/a.job.json', cwd: folder })
    expect(jobSchedule(job, 1)).toEqual(scheduleOf(candidate, options))
  }
})

test('says what a sharded vocabulary takes and is worth, or why it is not considered', async () => {
  const head = { ...unit, forward: 40, inputGrad: 40, weightGrad: 40, backward: 80 }
  const costs = { units: [...Array(7).fill(unit), head], vocabulary }
  expect(await plan([], { costs })).toBe(0)
  expect(out).toMatch(
    /embedding and head take 150 ms of it; with a sharded vocabulary 0\.900 ms, and each rank 12\.0 ms/u,
  )
  expect(out).toMatch(/^\S+ +(\(cap \d+\) +)?sharded vocabulary +\d/mu)
  expect(out).toMatch(/the quickest with a whole vocabulary: \S+.*, \d+ ms/u)
  expect(out).toMatch(/not there: bitpipe×2 with a sharded vocabulary: its microbatches run in two directions/u)
  expect(out).toMatch(/for the job: schedule: \{.*"vocabulary":"sharded","cuts".*"vocabulary":\{"lookup":/u)
  out = ''
  // Two ranks have other parts.
  expect(await plan(['--ranks', '2'], { costs })).toBe(0)
  expect(out).toMatch(/a sharded vocabulary is not considered: of its times the costs have those over 4 ranks/u)
  expect(out).not.toMatch(/"vocabulary"/u)
})

test('slow links cost time', async () => {
  const bestOf = async (...args: string[]) => {
    out = ''
    expect(await plan([...args, '--json'])).toBe(0)
    return (JSON.parse(out) as Answer).candidates[0]?.stepMs as number
  }
  expect(await bestOf('--mbit', '100', '--latency-ms', '50')).toBeGreaterThan(await bestOf())
})

test.each([
  [['--memory', '10MiB'], {}, /SKEIN_PLANNER_NOTHING_FITS.*10\.0 MiB a rank.*the smallest, .*allow \d+ bytes/su],
  [['--ranks', '9'], {}, /SKEIN_JOB_CONFLICT.*9 stages.*8 units.*at most mesh\.pp 8/su],
  [[], { pp: 1 }, /SKEIN_CLI_USAGE.*mesh\.pp of 1.*pass --ranks/su],
  [['--ranks', '1'], {}, /--ranks is "1".*from 2/su],
  [['--memory', 'much'], {}, /--memory is "much".*2GiB|4MiB/su],
  [[], { costs: { units: [unit] } }, /has 1 units, and the model of the job has 8/su],
  [[], { costs: '{' }, /costs\.json, which cannot be read as JSON/su],
  [[], { costs: { units: [{ ...unit, forward: -1, speed: 1 }] } }, /units\.0\.forward.*speed.*activationBytes/su],
] as const)('refuses %j %j with what is wrong and what would do', async (args, given, message) => {
  expect(await plan(args, given)).not.toBe(0)
  expect(out).toMatch(message)
})
