import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { root, type RunEvent, type SkeinRun, startSkein, stepsOf } from '../skein-process.ts'

/** 80 ms a step for each of three workers; see there. */
const job = fileURLToPath(new URL('slow-data.job.js', import.meta.url))

/** The process of a worker of the run in this folder. */
function pidOf(folder: string, workerId: string): number {
  const pid = fs.readdirSync('/proc').find(name => {
    if (!/^\d+$/.test(name)) return false
    try {
      const args = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')
      return args.includes('worker') && args.includes(workerId) && args.some(arg => arg.includes(folder))
    } catch {
      return false // It has ended meanwhile.
    }
  })
  if (pid === undefined) throw new Error(`no process of ${workerId} in ${folder}`)
  return Number(pid)
}

/** Ended by its disposal, which so comes before that of its folder. */
interface SlowRun extends SkeinRun, AsyncDisposable {
  /** From here on the data of these workers comes so many times as slowly. */
  slow(factors: Readonly<Record<string, number>>): void
}

function train(folder: string): SlowRun {
  const file = path.join(folder, 'slow.json')
  const slow = (factors: Readonly<Record<string, number>>) => {
    // At once for its readers: none may see half of it.
    fs.writeFileSync(`${file}.new`, JSON.stringify(factors))
    fs.renameSync(`${file}.new`, file)
  }
  slow({})
  const args = ['train', job, '--workers', '3', '--run-dir', folder, '--json']
  const run = startSkein(args, 170_000, { SLOW_DATA: file })
  return {
    ...run,
    slow,
    async [Symbol.asyncDispose]() {
      run.process.kill('SIGTERM')
      await run.ended
    },
  }
}

/** What `skein why` says of the run in this folder. */
function why(folder: string): string {
  const cli = `${root}packages/cli/dist/main.js`
  return spawnSync(process.execPath, [cli, 'why', folder], { encoding: 'utf8', cwd: root }).stdout
}

const isStep = (step: number) => (event: RunEvent) => event.event === 'step' && event['step'] === step
const isStraggler = (event: RunEvent) => event.event === 'straggler'

describe('skein why', () => {
  it('names a stopped worker before it counts as dead, and afterwards what ended its generation', async () => {
    using folder = temporaryFolder('why')
    await using run = train(folder.path)
    await run.until(isStep(5), 'step 5')
    const pid = pidOf(folder.path, 'w1')
    process.kill(pid, 'SIGSTOP')
    await new Promise(resolve => setTimeout(resolve, 1500))
    const said = why(folder.path)
    expect(said).toMatch(/^step \d+ waits [^:]+: rank 1 \(w1\) gives no answer; its last sign of life was .* ago\n/)
    expect(
      run.events.some(event => event.event === 'error'),
      'it does not count as dead yet',
    ).toBe(false)
    await run.until(event => event.event === 'start' && event['generation'] === 2, 'the next generation')
    expect(why(folder.path)).toMatch(/generation 1 failed: .* saw it first: .*w1/)
    process.kill(pid, 'SIGCONT')
  })

  it('a worker that is slowed 1.3 times is named within 20 steps, and nobody in 60 equal ones', async () => {
    using folder = temporaryFolder('straggler')
    await using run = train(folder.path)
    await run.until(isStep(60), 'step 60')
    expect(run.events.filter(isStraggler)).toEqual([])
    run.slow({ w2: 1.3 })
    const from = stepsOf(run.events).at(-1)?.step ?? 0
    const named = await Promise.race([run.until(isStraggler, 'a straggler'), run.until(isStep(from + 41), 'step')])
    const to = stepsOf(run.events).at(-1)?.step ?? 0
    expect(named).toMatchObject({ event: 'straggler', workerId: 'w2' })
    // The step under way when the data became slow is one that counts neither way.
    expect(to - from).toBeLessThanOrEqual(21)
    expect(why(folder.path)).toContain('rank 2 (w2) is slow: it takes 1.')
    run.slow({})
    expect(await run.until(event => event.event === 'straggler-gone', 'its end')).toMatchObject({ workerId: 'w2' })
    expect(run.events.filter(isStraggler)).toHaveLength(1)
  }, 180_000)
})
