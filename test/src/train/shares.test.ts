import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { SqliteLog } from '@skein/coordinator'
import { temporaryFolder } from '@skein/testkit'
import { expect, it } from 'vitest'
import { type RunEvent, runSkein, startSkein, type StepEvent, stepsOf } from '../skein-process.ts'

/** 20 ms a sample, 12 samples a step; see there. */
const job = fileURLToPath(new URL('slow-data.job.js', import.meta.url))

type Division = RunEvent & {
  readonly fromStep: number
  readonly members: readonly { readonly workerId: string; readonly share: number }[]
}
const isShares = (event: RunEvent): event is Division => event.event === 'shares'
const samplesOf = ({ members }: Pick<Division, 'members'>) =>
  Object.fromEntries(members.map(({ workerId, share }) => [workerId, share]))
/** The lower quartile: what else the machine does only makes steps longer. */
const usualMs = (steps: readonly StepEvent[]) =>
  steps.map(({ stepMs }) => stepMs).sort((a, b) => a - b)[steps.length >> 2] as number

/** At once for its readers: none may see half of it. */
function slow(file: string, factors: Readonly<Record<string, number>>): string {
  fs.writeFileSync(`${file}.new`, JSON.stringify(factors))
  fs.renameSync(`${file}.new`, file)
  return file
}

it('a worker that is half as fast gets fewer samples, and more again when it is as fast as the others', async () => {
  using folder = temporaryFolder('shares')
  const runDir = path.join(folder.path, 'run')
  const speeds = slow(path.join(folder.path, 'slow.json'), { w2: 2 })
  const env = { SLOW_DATA: speeds, SLOW_SHARES: 'measured' }
  const args = ['train', job, '--workers', '3', '--run-dir', runDir, '--json']
  const run = startSkein(args, 100_000, env)
  const divisions = () => run.events.filter(isShares)

  await run.until(isShares, 'shares by speed')
  const first = divisions()[0] as Division
  expect(samplesOf(first)).toEqual({ w0: 5, w1: 5, w2: 2 })
  expect(first.fromStep).toBe(23)
  await run.until(event => event.event === 'step' && Number(event['step']) >= first.fromStep + 14, 'its steps')
  const steps = stepsOf(run.events)
  const before = usualMs(steps.filter(({ step }) => step > 1 && step < first.fromStep))
  const after = usualMs(steps.filter(({ step }) => step >= first.fromStep))
  // 4 samples of 40 ms before, 5 of 20 ms after: 1.6, less what does not grow with the samples.
  expect(before / after).toBeGreaterThan(1.3)

  slow(speeds, {})
  await run.until(event => isShares(event) && event.fromStep > first.fromStep, 'shares of equals')
  const second = divisions().at(-1) as Division
  expect(samplesOf(second)).toEqual({ w0: 4, w1: 4, w2: 4 })
  await run.until(event => event.event === 'step' && Number(event['step']) >= second.fromStep + 2, 'its steps')
  run.process.kill('SIGINT')
  expect((await run.ended).code).toBe(0)

  expect(run.events.filter(event => event.event === 'generation')).toHaveLength(1)
  let cursor = 0
  for (const step of stepsOf(run.events)) {
    const shares = (step as unknown as Pick<Division, 'members'>).members.map(({ share }) => share)
    const isUnequal = step.step >= first.fromStep && step.step < second.fromStep
    expect(shares, `shares of step ${step.step}`).toEqual(isUnequal ? [5, 5, 2] : [4, 4, 4])
    expect(step.samples).toEqual([cursor, cursor + 12])
    cursor += 12
  }
  const log = new SqliteLog(path.join(runDir, 'coordinator.sqlite'))
  try {
    expect(log.read().divisions).toEqual([
      { generation: 1, fromStep: 1, shares: [4, 4, 4] },
      { generation: 1, fromStep: first.fromStep, shares: [5, 5, 2] },
      { generation: 1, fromStep: second.fromStep, shares: [4, 4, 4] },
    ])
  } finally {
    log.close()
  }

  // Who takes which samples changes no loss but by the order of sums.
  const alone = path.join(folder.path, 'alone')
  slow(speeds, { w0: 0 })
  const one = stepsOf(
    await runSkein(['train', job, '--workers', '1', '--steps', '40', '--run-dir', alone, '--json'], 60_000, {
      SLOW_DATA: speeds,
    }),
  )
  const three = stepsOf(run.events).slice(0, one.length)
  expect(three.some(({ step }) => step >= first.fromStep + 8)).toBe(true)
  for (const [i, step] of three.entries()) expect(Math.abs(step.loss - (one[i]?.loss ?? Number.NaN))).toBeLessThan(1e-5)
}, 120_000)
