import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { DeviceErrors } from '../errors.ts'
import { takeLock, thisHost } from './lock.ts'

/** The id of a process that has ended. */
function deadPid(): number {
  return spawnSync(process.execPath, ['-e', '']).pid
}

describe('takeLock', () => {
  it('lets one holder in at a time', async () => {
    using folder = temporaryFolder('lock')
    const file = path.join(folder.path, 'a.lock')
    let inside = 0
    let most = 0
    const turn = async () => {
      const lock = await takeLock(file, { timeoutMs: 30_000 })
      most = Math.max(most, ++inside)
      await new Promise(setImmediate)
      inside--
      lock.release()
    }
    await Promise.all([turn(), turn(), turn()])
    expect(most).toBe(1)
    expect(fs.existsSync(file)).toBe(false)
  })

  it('takes over the lock of a process that is gone', async () => {
    using folder = temporaryFolder('lock')
    const file = path.join(folder.path, 'a.lock')
    fs.writeFileSync(file, JSON.stringify({ token: 't', pid: deadPid(), host: thisHost() }))
    const lock = await takeLock(file, { timeoutMs: 10_000 })
    lock.release()
    expect(fs.existsSync(file)).toBe(false)
  })

  it('takes over a lock that its holder on another host stopped touching', async () => {
    using folder = temporaryFolder('lock')
    const file = path.join(folder.path, 'a.lock')
    fs.writeFileSync(file, JSON.stringify({ token: 't', pid: 1, host: 'elsewhere' }))
    const old = new Date(Date.now() - 3_600_000)
    fs.utimesSync(file, old, old)
    const lock = await takeLock(file, { timeoutMs: 10_000 })
    lock.release()
  })

  it('leaves a lock alone whose holder lives here, however long ago it touched it: the machine may have slept', async () => {
    using folder = temporaryFolder('lock')
    const file = path.join(folder.path, 'a.lock')
    fs.writeFileSync(file, JSON.stringify({ token: 't', pid: process.pid, host: thisHost() }))
    const old = new Date(Date.now() - 3_600_000)
    fs.utimesSync(file, old, old)
    await expect(takeLock(file, { timeoutMs: 0 })).rejects.toMatchObject({ code: DeviceErrors.SETUP_BUSY.code })
  })

  it('says what to do where nothing can be written', async () => {
    using folder = temporaryFolder('lock')
    const blocker = path.join(folder.path, 'a-file')
    fs.writeFileSync(blocker, '')
    await expect(takeLock(path.join(blocker, 'a.lock'), { timeoutMs: 0 })).rejects.toMatchObject({
      code: DeviceErrors.SETUP_FAILED.code,
      todo: expect.stringContaining('XDG_CACHE_HOME') as string,
    })
  })

  it('names the holder when it waits too long', async () => {
    using folder = temporaryFolder('lock')
    const file = path.join(folder.path, 'a.lock')
    const lock = await takeLock(file, { timeoutMs: 1000 })
    const waiting: number[] = []
    const second = takeLock(file, { timeoutMs: 0, onWait: owner => waiting.push(owner.pid) })
    await expect(second).rejects.toMatchObject({ code: DeviceErrors.SETUP_BUSY.code, details: { pid: process.pid } })
    expect(waiting).toEqual([process.pid])
    lock.release()
    lock.release()
  })

  it('leaves a lock alone that was taken over meanwhile', async () => {
    using folder = temporaryFolder('lock')
    const file = path.join(folder.path, 'a.lock')
    const lock = await takeLock(file, { timeoutMs: 1000 })
    fs.writeFileSync(file, JSON.stringify({ token: 'another', pid: process.pid, host: os.hostname() }))
    lock.release()
    expect(fs.existsSync(file)).toBe(true)
  })
})
