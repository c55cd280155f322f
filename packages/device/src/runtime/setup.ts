import fs from 'node:fs'
import path from 'node:path'
import { asSkeinError, type SkeinError } from '@skein/core'
import { cpuWheel, cudaWheel, type WheelPin } from '../config.ts'
import { buildRuntime, temporaryPrefix } from './build.ts'
import { type HeldLock, takeLock } from './lock.ts'
import { checkRuntime, type RuntimeManifest } from './manifest.ts'
import { type RuntimePlaces, runtimePlaces } from './places.ts'
import type { OnProgress } from './progress.ts'
import { hasNvidia } from './platform.ts'
import { requireTools } from './requirements.ts'

export interface SetupOptions {
  readonly wheel?: WheelPin
  /** Default: `userCacheDir()`. */
  readonly cacheDir?: string
  readonly onProgress?: OnProgress
  readonly signal?: AbortSignal
  /** Compare a cached runtime by hash, and build it anew if a file differs. */
  readonly verify?: boolean
}

export interface SetupResult {
  readonly places: RuntimePlaces
  readonly manifest: RuntimeManifest
  /** False when the cache already held it. */
  readonly built: boolean
  readonly ms: number
}

const LOCK_TIMEOUT_MS = 60 * 60_000

/**
 * Makes sure that the TensorFlow runtime is in the cache: downloads the wheel, unpacks its libraries, compiles the addon,
 * tries it in a process of its own, and renames the finished folder into place. Interrupted anywhere, the next call clears up
 * and begins again; two calls at once do the work once.
 * @throws SKEIN_DEVICE_TOOL_MISSING, SKEIN_DEVICE_SETUP_FAILED, SKEIN_DEVICE_ARCHIVE_BROKEN, SKEIN_DEVICE_SETUP_BUSY, SKEIN_ABORTED
 */
export async function setupRuntime(options: SetupOptions = {}): Promise<SetupResult> {
  const since = performance.now()
  const places = runtimePlaces(options.wheel ?? cpuWheel, options)
  const done = (manifest: RuntimeManifest, built: boolean): SetupResult => {
    return { places, manifest, built, ms: performance.now() - since }
  }
  const full = options.verify === true
  const before = await checkRuntime(places.dir, places.key, { full })
  if (before.ok) return done(before.manifest, false)

  const tools = await requireTools(places.root, options.signal)
  const lock = await waitForLock(places, options)
  try {
    const meanwhile = await checkRuntime(places.dir, places.key, { full })
    if (meanwhile.ok) return done(meanwhile.manifest, false)
    clearLeftovers(places)
    return done(await buildRuntime(places, tools, options), true)
  } finally {
    lock.release()
  }
}

/**
 * The runtime of the best device that this machine shows: the CUDA one where there is an NVIDIA device, and the CPU one where
 * there is none or where the CUDA one cannot be had (`onFallback` is told why).
 * @throws as setupRuntime
 */
export async function setupBestRuntime(
  options: Omit<SetupOptions, 'wheel'> & { readonly onFallback?: (why: SkeinError) => void } = {},
): Promise<SetupResult> {
  if (!hasNvidia()) return setupRuntime({ ...options, wheel: cpuWheel })
  try {
    return await setupRuntime({ ...options, wheel: cudaWheel })
  } catch (thrown) {
    if (options.signal?.aborted === true) throw thrown
    options.onFallback?.(asSkeinError(thrown))
    return setupRuntime({ ...options, wheel: cpuWheel })
  }
}

async function waitForLock(places: RuntimePlaces, options: SetupOptions): Promise<HeldLock> {
  const since = performance.now()
  return takeLock(places.lockPath, {
    timeoutMs: LOCK_TIMEOUT_MS,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    onWait: owner => {
      const what = `for process ${owner.pid} on ${owner.host}, which sets up the same runtime`
      options.onProgress?.({ stage: 'wait', what, ms: performance.now() - since, ended: false })
    },
  })
}

/** Removes what interrupted set-ups of this runtime left, and a damaged runtime. The caller holds the lock. */
function clearLeftovers(places: RuntimePlaces): void {
  for (const name of fs.readdirSync(places.root)) {
    if (name.startsWith(temporaryPrefix(places.key)))
      fs.rmSync(path.join(places.root, name), { recursive: true, force: true })
  }
  fs.rmSync(places.dir, { recursive: true, force: true })
}
