import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { cpuWheel } from '../config.ts'
import { DeviceErrors } from '../errors.ts'
import { temporaryPrefix } from './build.ts'
import { runtimePlaces } from './places.ts'
import type { SetupProgress } from './progress.ts'
import { setupRuntime } from './setup.ts'

// The whole set-up with stand-ins for the programs it runs. The real one is what every fresh clone does first.

let folder: ReturnType<typeof temporaryFolder>
let path0: string | undefined

beforeEach(() => {
  folder = temporaryFolder('setup')
  path0 = process.env['PATH']
  fs.mkdirSync(path.join(folder.path, 'bin'))
  process.env['PATH'] = path.join(folder.path, 'bin')
})

afterEach(() => {
  process.env['PATH'] = path0
  folder[Symbol.dispose]()
})

/** Puts a shell script of this name on the PATH, which holds nothing else. */
function standIn(name: string, script: string): void {
  fs.writeFileSync(path.join(folder.path, 'bin', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
}

/** A python3 that answers the probes, and runs `download` when pip shall download; `$dest` is then where the wheel belongs. */
function standInPython(download: string): void {
  standIn(
    'python3',
    `case "$*" in
*sys.version_info*) echo 3.11.7 ;;
*"pip --version"*) echo "pip 23.2.1 from somewhere" ;;
*"pip download"*) while [ "$1" != --dest ]; do shift; done; dest=$2; ${download} ;;
esac`,
  )
}

const run = (progress?: SetupProgress[]) =>
  setupRuntime({
    cacheDir: path.join(folder.path, 'cache'),
    ...(progress === undefined ? {} : { onProgress: (one: SetupProgress) => progress.push(one) }),
  })

const places = () => runtimePlaces(cpuWheel, { cacheDir: path.join(folder.path, 'cache') })
const leftInCache = () => (fs.existsSync(places().root) ? fs.readdirSync(places().root) : [])

describe('the set-up of the runtime', () => {
  it('names everything that is missing in one error, with the packages that bring it', async () => {
    const error = await run().catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({
      code: DeviceErrors.TOOL_MISSING.code,
      details: { missing: ['python3', 'pip for python3', 'g++'] },
      todo: expect.stringContaining('apt-get install python3 python3-pip g++'),
    })
  })

  it('names only pip where only pip is missing', async () => {
    standIn('python3', 'case "$*" in *sys.version_info*) echo 3.11.7 ;; *) exit 1 ;; esac')
    standIn('g++', 'echo "g++ 12"')
    await expect(run()).rejects.toMatchObject({ details: { missing: ['pip for python3'], packages: ['python3-pip'] } })
  })

  it('quotes the end of what pip said when the download fails, and leaves nothing behind', async () => {
    standInPython('echo "ERROR: no matching distribution" >&2; exit 1')
    standIn('g++', 'echo "g++ 12"')
    const progress: SetupProgress[] = []
    const error = await run(progress).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({
      code: DeviceErrors.SETUP_FAILED.code,
      why: expect.stringContaining('no matching distribution'),
    })
    expect(progress.map(one => one.stage)).toContain('download')
    expect(leftInCache()).toEqual([])
  })

  it('refuses a wheel that is no archive, and leaves nothing behind', async () => {
    standInPython('echo "not a zip" > "$dest/some.whl"')
    standIn('g++', 'echo "g++ 12"')
    await expect(run()).rejects.toMatchObject({ code: DeviceErrors.ARCHIVE_BROKEN.code })
    expect(leftInCache()).toEqual([])
  })

  it('clears up what an interrupted set-up and a damaged runtime left, and nothing of other runtimes', async () => {
    standInPython('exit 1')
    standIn('g++', 'echo "g++ 12"')
    const { root, key, dir } = places()
    fs.mkdirSync(path.join(root, `${temporaryPrefix(key)}0123`, 'work'), { recursive: true })
    fs.mkdirSync(path.join(root, 'another-runtime'), { recursive: true })
    fs.mkdirSync(dir)
    await expect(run()).rejects.toMatchObject({ code: DeviceErrors.SETUP_FAILED.code })
    expect(leftInCache()).toEqual(['another-runtime'])
  })

  it('ends at once when it is cancelled, with the child it was waiting for', async () => {
    standInPython(`echo $$ > "${path.join(folder.path, 'pid')}"; kill -STOP $$`)
    standIn('g++', 'echo "g++ 12"')
    const ending = new AbortController()
    const pidFile = path.join(folder.path, 'pid')
    const watch = setInterval(() => {
      if (fs.existsSync(pidFile) && fs.readFileSync(pidFile, 'utf8') !== '') ending.abort()
    }, 20)
    const cancelled = setupRuntime({ cacheDir: path.join(folder.path, 'cache'), signal: ending.signal })
    await expect(cancelled).rejects.toMatchObject({ code: 'SKEIN_ABORTED' })
    clearInterval(watch)
    const pid = Number(fs.readFileSync(pidFile, 'utf8'))
    expect(() => process.kill(pid, 0)).toThrow('ESRCH')
    expect(leftInCache()).toEqual([])
  })
})
