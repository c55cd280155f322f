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
