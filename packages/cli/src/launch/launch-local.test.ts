import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { CliErrors } from '../errors.ts'
import { childFailed, type LocalLaunch, launchLocal, threadsPerWorker, workerNames } from './launch-local.ts'

// Stands in for `skein coordinator` and `skein worker`: says what it was given, and ends as FAKE tells it to.
const fakeMain = `
const [command, ...args] = process.argv.slice(2)
const name = command === 'coordinator' ? command : args[args.indexOf('--id') + 1]
const wish = JSON.parse(process.env.FAKE)[name]
const say = event => process.stdout.write(JSON.stringify(event) + '\\n')
process.stdin.setEncoding('utf8')
process.stdin.on('end', () => process.exit(0))
console.error(JSON.stringify({ args, token: process.env.SKEIN_TOKEN }))
if (wish === 'stubborn') process.on('SIGTERM', () => {})
if (command === 'coordinator') {
  process.stdin.resume()
  if (wish === 'refuse') {
    say({ event: 'error', code: 'SKEIN_X_PORT', message: 'm', what: 'port 1 is taken', todo: 'take another', details: { port: 1 } })
    process.exitCode = 1
    process.stdin.destroy()
  } else say({ event: 'listening', url: 'http://127.0.0.1:9' })
  if (wish === 'leave') process.stdin.destroy()
} else {
  process.stdin.once('data', line => {
    console.error('address ' + line.trim())
    if (wish === 'die') { console.error('out of luck'); process.exit(3) }
    if (wish === 'leave') process.exit(0)
  })
}
`

function launchIn(folder: string, wishes: Readonly<Record<string, string>>, numWorkers = 2): LocalLaunch {
  const mainFile = path.join(folder, 'fake-main.mjs')
  fs.writeFileSync(mainFile, fakeMain)
  return {
    numWorkers,
    runDir: path.join(folder, 'run'),
    token: 'the-token',
    threads: 3,
    coordinatorArgs: ['--job', 'j.ts'],
    env: { ...process.env, FAKE: JSON.stringify(wishes) },
    mainFile,
    startTimeoutMs: 20_000,
  }
}

const stderrOf = (folder: string, name: string) =>
  fs.readFileSync(path.join(folder, 'run', 'logs', `${name}.stderr.log`), 'utf8')

describe('a local launch', () => {
  it('gives workers their name, threads and address, and everyone the token by environment', async () => {
    using folder = temporaryFolder('launch')
    const run = await launchLocal(
      launchIn(folder.path, { coordinator: 'leave', w0: 'leave', w1: 'leave' }),
      () => undefined,
    )
    expect(run.url).toBe('http://127.0.0.1:9')
    await run.ended
    expect(run.failures()).toEqual([])
    for (const name of ['w0', 'w1']) {
      const [first = ''] = stderrOf(folder.path, name).split('\n')
      const { args, token } = JSON.parse(first) as { args: string[]; token: string }
      expect(token).toBe('the-token')
      expect(args.join(' ')).toContain(`--join - --id ${name} --threads 3`)
      expect(args).toContain('--exit-with-parent')
      expect(args).not.toContain('the-token')
    }
  })

  it('rejects with the coordinator’s own error, and leaves no process behind', async () => {
    using folder = temporaryFolder('launch')
    const launching = launchLocal(launchIn(folder.path, { coordinator: 'refuse' }), () => undefined)
    await expect(launching).rejects.toMatchObject({
      code: 'SKEIN_X_PORT',
      what: 'port 1 is taken',
      details: { port: 1 },
    })
    expect(stderrOf(folder.path, 'w0')).not.toContain('address')
  })

  it('goes on while a worker is left, and names the first that ended early, with its last words', async () => {
    using folder = temporaryFolder('launch')
    const run = await launchLocal(launchIn(folder.path, { w0: 'die', w1: 'die' }), () => undefined)
    const failure = await run.failed
    expect(run.failures()).toHaveLength(2)
    expect(failure).toBe(run.failures()[0])
    expect(failure.exit.code).toBe(3)
    expect(failure.lastWords).toContain('out of luck')
    const error = childFailed(failure, path.join(folder.path, 'run'))
    expect(error.code).toBe(CliErrors.CHILD_EXITED.code)
    expect(error.message).toContain(`worker ${failure.name} ended with status 3`)
    expect(error.todo).toContain(`${failure.name}.stderr.log`)
    await run.stop(5000)
    await run.ended
  })

  it('kills a child that does not heed SIGTERM', async () => {
    using folder = temporaryFolder('launch')
    const run = await launchLocal(launchIn(folder.path, { coordinator: 'stubborn' }), () => undefined)
    await run.stop(200)
    await run.ended
    expect(run.failures().find(failure => failure.name === 'coordinator')?.exit.signal).toBe('SIGKILL')
    // Idempotent.
    await run.stop(200)
  })
})

describe('the division of a machine', () => {
  it('gives every worker at least one thread', () => {
    expect([1, 2, 3, 4, 8].map(n => threadsPerWorker(4, n))).toEqual([4, 2, 1, 1, 1])
    expect(workerNames(3)).toEqual(['w0', 'w1', 'w2'])
  })
})
