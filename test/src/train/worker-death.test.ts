import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { startSkein, tinyJob } from '../skein-process.ts'

describe('a worker that dies', () => {
  it('ends the run with a typed error that names it, and leaves no process behind', async () => {
    using folder = temporaryFolder('death')
    const run = startSkein([
      'train',
      tinyJob,
      '--workers',
      '3',
      '--steps',
      '100000',
      '--run-dir',
      folder.path,
      '--json',
    ])
    await run.until(event => event.event === 'step' && event['step'] === 5, 'step 5')
    const member = run.events.find(event => event.event === 'member' && typeof event['pid'] === 'number')
    const victim = member?.['workerId'] as string
    const pids = run.events
      .filter(e => e.event === 'member' && typeof e['pid'] === 'number')
      .map(e => e['pid'] as number)
    process.kill(member?.['pid'] as number, 'SIGKILL')
    const { code } = await run.ended
    expect(code).not.toBe(0)
    const error = run.events.find(event => event.event === 'error')
    expect(error).toMatchObject({ code: 'SKEIN_MEMBERSHIP_WORKER_LOST' })
    expect(error?.['message']).toContain(victim)
    expect(error?.['todo']).toBeTruthy()
    for (const pid of new Set(pids)) expect(() => process.kill(pid, 0)).toThrow()
  })
})
