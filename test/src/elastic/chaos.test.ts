import { temporaryFolder, useTestSeed } from '@skein/testkit'
import { expect, it } from 'vitest'
import { startSkein, tinyJob } from '../skein-process.ts'

// SKEIN_CHAOS_RUNS=20 puts twenty runs through it, each with the next seed.
const runs = Number(process.env['SKEIN_CHAOS_RUNS'] ?? 1)
const seed = useTestSeed() % 1_000_000

it.each(Array.from({ length: runs }, (_, i) => seed + i))(
  'a run of real processes under the faults of seed %d loses nothing',
  async one => {
    using folder = temporaryFolder('chaos')
    const args = ['chaos', tinyJob, '--workers', '4', '--steps', '150', '--count', '4', '--seed', String(one)]
    const run = startSkein([...args, '--run-dir', folder.path, '--timeout', '150', '--json'], 170_000)
    const { code, stderr } = await run.ended
    const report = run.events.find(event => event.event === 'chaos')
    expect(report, stderr).toMatchObject({ verdict: 'passed', problems: [], lostSamples: 0, repeatedSamples: 0 })
    expect(report?.['digestsEqual']).toBe(true)
    expect(run.events.filter(event => event.event === 'fault').length).toBeGreaterThan(0)
    expect(code).toBe(0)
  },
  180_000,
)

it('a disk that is full and checkpoints that are torn cost no step, and the run says what happened', async () => {
  using folder = temporaryFolder('chaos-disk')
  const args = ['chaos', tinyJob, '--workers', '2', '--steps', '120', '--faults', 'disk@12,torn@24:500,torn@47:500']
  const run = startSkein([...args, '--run-dir', folder.path, '--timeout', '100', '--json'], 120_000)
  const { code, stderr } = await run.ended
  const report = run.events.find(event => event.event === 'chaos')
  // Bounds of time too: a full disk costs nothing, a coordinator that is away 10 s beside the time it is away.
  expect(report, stderr).toMatchObject({ verdict: 'passed', problems: [], steps: 120 })
  expect(code).toBe(0)
  const alarm = run.events.find(event => event.event === 'checkpoint-failed')
  expect(alarm).toMatchObject({ code: 'SKEIN_CHECKPOINT_WRITE', details: { errno: 'EFBIG' } })
  const skipped = run.events.filter(event => event.event === 'checkpoint-skipped').map(event => event['code'])
  expect(skipped).toContain('SKEIN_CHECKPOINT_CUT_SHORT')
  expect(skipped).toContain('SKEIN_CHECKPOINT_CORRUPT')
  // The first life, and one after each death: from an older checkpoint than the torn one.
  const lives = run.events.filter(event => event.event === 'run')
  expect(lives.map(event => typeof event['resume'])).toEqual(['undefined', 'string', 'string'])
}, 130_000)

it('a storm, a flapping worker and a duplicate cost the others no more than their bounds', async () => {
  using folder = temporaryFolder('chaos-storm')
  const faults = 'storm@20:3000,flap:w1@120:500,duplicate:w0@250'
  const args = ['chaos', tinyJob, '--workers', '2', '--steps', '400', '--faults', faults, '--run-dir', folder.path]
  const run = startSkein([...args, '--timeout', '100', '--json'], 120_000)
  const { code, stderr } = await run.ended
  const report = run.events.find(event => event.event === 'chaos')
  // The times of all steps against the bounds of what went on (`boundsMs`).
  expect(report, stderr).toMatchObject({ verdict: 'passed', problems: [], steps: 400 })
  expect(code).toBe(0)
  expect(run.events.filter(event => event.event === 'fault').map(event => event['kind'])).toEqual([
    'storm',
    'flap',
    'duplicate',
  ])
}, 130_000)
