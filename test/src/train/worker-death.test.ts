import fs from 'node:fs'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { startSkein, tinyJob } from '../skein-process.ts'

/** Processes of this machine whose command line holds `text`: pid and arguments. */
function processesWith(text: string): { readonly pid: number; readonly args: readonly string[] }[] {
  return fs.readdirSync('/proc').flatMap(name => {
    if (!/^\d+$/.test(name)) return []
    try {
      const args = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')
      return args.some(arg => arg.includes(text)) ? [{ pid: Number(name), args }] : []
    } catch {
      return [] // It has ended meanwhile.
    }
  })
}

describe('a worker that dies', () => {
  it('ends the run with a typed error that names it, and leaves no process behind', async () => {
    using folder = temporaryFolder('death')
    const run = startSkein([
      'train',
      tinyJob,
      '--workers',
      '4',
      '--steps',
      '100000',
      '--run-dir',
      folder.path,
      '--json',
    ])
    await run.until(event => event.event === 'step' && event['step'] === 5, 'step 5')
    const victim = processesWith(folder.path).find(({ args }) => args.includes('worker') && args.includes('w2'))
    expect(victim).toBeDefined()
    process.kill(victim?.pid ?? 0, 'SIGKILL')
    const { code } = await run.ended
    expect(code).not.toBe(0)
    const error = run.events.find(event => event.event === 'error')
    expect(error).toMatchObject({ code: 'SKEIN_MEMBERSHIP_WORKER_LOST' })
    expect(error?.['message']).toContain('w2')
    expect(error?.['todo']).toBeTruthy()
    expect(processesWith(folder.path)).toEqual([])
  })
})
