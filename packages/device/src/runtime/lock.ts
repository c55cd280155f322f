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
  /** And its process namespace: containers may share a host's name, and not its process ids. */
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
 * or when its holder (on another host or in another container) has not touched it for 20 s: a machine that slept is not taken for dead by its own.
 * @throws SKEIN_DEVICE_SETUP_BUSY, SKEIN_DEVICE_SETUP_FAILED where nothing can be written there, SKEIN_ABORTED
 */
export async function takeLock(file: string, options: LockOptions): Promise<HeldLock> {
  const owner: LockOwner = { token: randomUUID(), pid: process.pid, host: thisHost() }
  writing(file, () => fs.mkdirSync(path.dirname(file), { recursive: true }))
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
  return writing(file, () => {
    try {
      fs.writeFileSync(file, JSON.stringify(owner), { flag: 'wx' })
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
      throw error
    }
  })
}

/** What the file system refuses, as something that a user can do something about. */
function writing<T>(file: string, work: () => T): T {
  try {
    return work()
  } catch (cause) {
    throw new SkeinError(DeviceErrors.SETUP_FAILED, {
      what: `${file} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`,
      why: 'the cache of this user is read-only, full, or somebody else’s',
      todo: 'point XDG_CACHE_HOME at a folder that this user may write, and run `skein setup` again',
      cause,
    })
  }
}

export function thisHost(): string {
  try {
    return `${os.hostname()} ${fs.readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return os.hostname()
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
  if (owner !== undefined && owner.host === thisHost()) return !isAlive(owner.pid)
  return Date.now() - stat.mtimeMs > STALE_AFTER_MS
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
