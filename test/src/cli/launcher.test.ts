import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { type SkeinRun, startSkein, tinyJob } from '../skein-process.ts'
import { expectFailure, expectRefusal } from './expect-error.ts'

const endless = (runDir: string) =>
  startSkein(['train', tinyJob, '--workers', '2', '--steps', '1000000', '--run-dir', runDir, '--json'])

const atStep = (run: SkeinRun, step: number) =>
  run.until(event => event.event === 'step' && event['step'] === step, `step ${step}`)

/** Processes that name the run's folder in their arguments: its coordinator and workers. Linux alone tells. */
function processesOf(runDir: string): number[] {
  return fs
    .readdirSync('/proc')
    .filter(name => /^\d+$/u.test(name))
    .map(Number)
    .filter(pid => pid !== process.pid && argumentsOf(pid).some(argument => argument.startsWith(runDir)))
}

function argumentsOf(pid: number): string[] {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}

/** Resolves when a process is gone; `tail` watches, so nothing here polls. The test's own time bounds it. */
function gone(pid: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const watcher = spawn('tail', [`--pid=${pid}`, '-s', '0.1', '-f', '/dev/null'], { stdio: 'ignore' })
    watcher.on('error', reject)
    watcher.on('close', () => resolve())
  })
}

describe('the launcher', () => {
  it('that is killed takes its processes with it', async () => {
    using folder = temporaryFolder('orphans')
    const run = endless(folder.path)
    await atStep(run, 2)
    const launcher = run.process.pid
    const children = processesOf(folder.path).filter(pid => pid !== launcher)
    expect(children).toHaveLength(3)
    run.process.kill('SIGKILL')
    await run.ended
    await Promise.all(children.map(gone))
    expect(processesOf(folder.path)).toEqual([])
  })

  it('told to end by SIGTERM leaves a checkpoint and no process, with status 143', async () => {
    using folder = temporaryFolder('sigterm')
    const run = endless(folder.path)
    await atStep(run, 2)
    run.process.kill('SIGTERM')
    const { code, stderr } = await run.ended
    expect(code, stderr).toBe(143)
    const done = run.events.find(event => event.event === 'done')
    expect(done).toMatchObject({ status: 'stopped' })
    expect(fs.existsSync(path.join(done?.['checkpoint'] as string, 'manifest.json'))).toBe(true)
    expect(processesOf(folder.path)).toEqual([])
  })

  it('ends at once at the second signal, with status 130, an error and no process left', async () => {
    using folder = temporaryFolder('twice')
    const run = endless(folder.path)
    await atStep(run, 2)
    // A coordinator that hangs: the first Ctrl-C alone would wait its 30 s.
    const coordinator = processesOf(folder.path).find(pid => argumentsOf(pid).includes('coordinator'))
    process.kill(coordinator as number, 'SIGSTOP')
    run.process.kill('SIGINT')
    // Two signals that wait at once may be taken by two threads, in either order.
    await run.until(event => event.event === 'note', 'the launcher to say that the run is stopping')
    run.process.kill('SIGTERM')
    const { code } = await run.ended
    expect(code).toBe(130)
    expect(run.events.at(-1)).toMatchObject({ event: 'error', code: 'SKEIN_CLI_RUN_INTERRUPTED' })
    expect(processesOf(folder.path)).toEqual([])
  })

  it('stopped before the first step ends well, without a checkpoint', async () => {
    using folder = temporaryFolder('early')
    const run = endless(folder.path)
    await run.until(event => event.event === 'run', 'the run')
    run.process.kill('SIGINT')
    const { code, stderr } = await run.ended
    expect(code, stderr).toBe(0)
    expect(run.events.at(-1)).toMatchObject({ event: 'done', status: 'stopped' })
    expect(processesOf(folder.path)).toEqual([])
  })
})

describe('who reads goes first:', () => {
  it('the run goes on unseen, and ends with its checkpoint', async () => {
    using folder = temporaryFolder('unread')
    const args = ['train', tinyJob, '--workers', '2', '--steps', '12', '--run-dir', folder.path, '--json']
    const run = startSkein(args)
    await run.until(event => event.event === 'run', 'the run')
    run.process.stdout?.destroy()
    const { code, stderr } = await run.ended
    expect(code, stderr).toBe(0)
    expect(stderr).toBe('')
    expect(fs.existsSync(path.join(folder.path, 'checkpoints', 'step-00000012', 'manifest.json'))).toBe(true)
    expect(processesOf(folder.path)).toEqual([])
  })

  it('what only tells ends at once, without a word', async () => {
    const told = startSkein(['schedule', 'compare', '--stages', '4', '--microbatches', '64'])
    told.process.stdout?.destroy()
    expect(await told.ended).toEqual({ code: 0, stderr: '' })
  })
})

describe('chaos', () => {
  it('that is interrupted takes stopped workers with it', async () => {
    using folder = temporaryFolder('interrupted')
    const args = ['chaos', tinyJob, '--workers', '2', '--steps', '100000', '--faults', 'stop:w1@2:60000']
    const run = startSkein([...args, '--run-dir', folder.path, '--json'])
    await run.until(event => event.event === 'fault', 'the worker to be stopped')
    run.process.kill('SIGINT')
    expect((await run.ended).code).toBe(130)
    expect(processesOf(folder.path)).toEqual([])
  })
})

describe('a worker', () => {
  it('with a wrong token is refused, and says how to get the right one', async () => {
    using folder = temporaryFolder('token')
    const coordinator = startSkein(
      ['coordinator', '--job', tinyJob, '--workers', '1', '--run-dir', folder.path, '--json'],
      60_000,
      { SKEIN_TOKEN: 'the-right-token' },
    )
    const { url } = (await coordinator.until(event => event.event === 'listening', 'the address')) as unknown as {
      url: string
    }
    await expectRefusal(['worker', '--join', url, '--token', 'a-wrong-token'], {
      code: 'SKEIN_TRANSPORT_UNAUTHORIZED',
      names: ['token'],
    })
    await expectRefusal(['status', url, '--token', 'a-wrong-token'], { code: 'SKEIN_COORDINATOR_UNAUTHORIZED' })
    coordinator.process.kill('SIGKILL')
    await coordinator.ended
  })

  it('whose launcher never says an address ends', async () => {
    await expectFailure(startSkein(['worker', '--join', '-', '--json'], 30_000), { code: 'SKEIN_CLI_USAGE', status: 2 })
  })
})
