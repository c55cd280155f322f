import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { SkeinError, sleep } from '@skein/core'
import { DeviceErrors } from '../errors.ts'

/** What a lock file says about its holder. */
interface LockOwner {
  readonly token: string
  readonly pid: number
  readonly host: string
}

export interface LockOptions {
  /** How long to wait for another holder. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal
  /** Called when waiting begins, with the holder. */
  readonly onWait?: (owner: { readonly pid: number; readonly host: string }) => void
}

/** A held lock; `release` is idempotent. */
export interface HeldLock {
  release(): void
}

const TOUCH_EVERY_MS = 2000
const STALE_AFTER_MS = 20_000
const POLL_EVERY_MS = 200

/**
 * Takes a lock file, made exclusively. A lock is stale, and taken over, when its holder's process on this host is gone,
 * or when its holder (on another host or in another container) has not touched it for 20 s. Saves two set-ups from doing
 * the same work; that neither harms the other rests on their own folders and the final rename, not on this lock.
 * @throws SKEIN_DEVICE_SETUP_BUSY, SKEIN_ABORTED
 */
export async function takeLock(file: string, options: LockOptions): Promise<HeldLock> {
  const owner: LockOwner = { token: randomUUID(), pid: process.pid, host: os.hostname() }
  fs.mkdirSync(path.dirname(file), { recursive: true })
  const since = performance.now()
  let told = false
  for (;;) {
    if (tryCreate(file, owner)) return hold(file, owner)
    const other = readOwner(file)
    if (isStale(file, other)) {
      fs.rmSync(file, { force: true })
      continue
    }
    if (!told && other !== undefined) {
      options.onWait?.(other)
      told = true
    }
    if (performance.now() - since > options.timeoutMs) throw busy(file, other, options.timeoutMs)
    await sleep(POLL_EVERY_MS, options.signal)
  }
}

function tryCreate(file: string, owner: LockOwner): boolean {
  try {
    fs.writeFileSync(file, JSON.stringify(owner), { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

function hold(file: string, owner: LockOwner): HeldLock {
  const touch = setInterval(() => {
    if (readOwner(file)?.token === owner.token) fs.utimesSync(file, new Date(), new Date())
  }, TOUCH_EVERY_MS)
  touch.unref()
  return {
    release() {
      clearInterval(touch)
      if (readOwner(file)?.token === owner.token) fs.rmSync(file, { force: true })
    },
  }
}

/** Undefined for a lock that is gone, or cut short by a crash while it was written. */
function readOwner(file: string): LockOwner | undefined {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) as LockOwner
  } catch {
    return undefined
  }
}

function isStale(file: string, owner: LockOwner | undefined): boolean {
  const stat = fs.statSync(file, { throwIfNoEntry: false })
  if (stat === undefined) return false
  if (Date.now() - stat.mtimeMs > STALE_AFTER_MS) return true
  return owner !== undefined && owner.host === os.hostname() && !isAlive(owner.pid)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function busy(file: string, owner: LockOwner | undefined, timeoutMs: number): SkeinError {
  const who = owner === undefined ? 'another process' : `process ${owner.pid} on ${owner.host}`
  return new SkeinError(DeviceErrors.SETUP_BUSY, {
    what: `waited ${timeoutMs} ms for ${who} to finish the same set-up`,
    why: 'a slow download there, or it hangs',
    todo: `look at that process; when it is gone, run \`skein setup\` again (the lock is ${file})`,
    details: { ...owner },
  })
}
