import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { runSkein, startSkein, stepsOf, tinyJob } from '../skein-process.ts'

describe('stopping and resuming', () => {
  it('Ctrl-C ends cleanly with a checkpoint, and --resume goes on with the same samples and the same bits', async () => {
    using folder = temporaryFolder('resume')
    const args = (name: string, ...more: string[]) => [
      'train',
      tinyJob,
      '--workers',
      '2',
      '--steps',
      '16',
      '--run-dir',
      path.join(folder.path, name),
      '--json',
      ...more,
    ]
    const whole = stepsOf(await runSkein(args('whole')))

    const interrupted = startSkein(args('interrupted'))
    await interrupted.until(event => event.event === 'step' && event['step'] === 4, 'step 4')
    interrupted.process.kill('SIGINT')
    const { code, stderr } = await interrupted.ended
    expect(code, stderr).toBe(0)
    const made = stepsOf(interrupted.events)
    const last = made.at(-1)?.step ?? 0
    expect(last).toBeGreaterThanOrEqual(4)
    expect(last).toBeLessThan(16)
    const done = interrupted.events.find(event => event.event === 'done')
    const checkpoint = done?.['checkpoint'] as string
    expect(checkpoint).toContain(`step-${String(last).padStart(8, '0')}`)

    const resumed = stepsOf(await runSkein(args('resumed', '--resume', checkpoint)))
    expect(resumed[0]?.step).toBe(last + 1)
    const joined = [...made, ...resumed]
    expect(joined.map(s => s.samples)).toEqual(whole.map(s => s.samples))
    expect(joined.map(s => s.digest)).toEqual(whole.map(s => s.digest))
  })
})
