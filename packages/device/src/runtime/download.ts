import fs from 'node:fs'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import type { WheelPin } from '../config.ts'
import { DeviceErrors } from '../errors.ts'
import { mustRun } from './run-command.ts'

export interface DownloadOptions {
  /** The Python whose pip downloads, with the index, proxy and certificates of its own configuration. */
  readonly python: string
  /** An empty folder of the caller's; partial downloads stay inside it. */
  readonly folder: string
  readonly onBytes?: (doneBytes: number) => void
  readonly signal?: AbortSignal
}

const DOWNLOAD_TIMEOUT_MS = 45 * 60_000
const WATCH_EVERY_MS = 250
const advice =
  'check the network and the configuration of pip (index, proxy), for example with `python3 -m pip download --no-deps six`, then run `skein setup` again'

/**
 * Downloads one wheel with pip, whatever Python and platform pip itself runs on, and checks it against the pinned hash.
 * Nothing is installed. Returns the wheel's path. @throws SKEIN_DEVICE_SETUP_FAILED
 */
export async function downloadWheel(pin: WheelPin, options: DownloadOptions): Promise<string> {
  const requirement = `${pin.name}==${pin.version}`
  const hash = pin.sha256 === undefined ? '' : ` --hash=sha256:${pin.sha256}`
  return downloadRequirement(requirement, hash, pin, options)
}

/** The same for a requirement of a wheel, such as `nvidia-cublas-cu12<13,>=12.5`, selected for the same Python and platform. */
export async function downloadRequirement(
  requirement: string,
  hash: string,
  pin: Pick<WheelPin, 'pythonVersion' | 'platform' | 'extraPlatforms'>,
  options: DownloadOptions,
): Promise<string> {
  const { folder } = options
  const target = fs.mkdtempSync(path.join(folder, 'wheel-'))
  const partial = path.join(folder, 'partial')
  fs.mkdirSync(partial, { recursive: true })
  const list = path.join(folder, 'requirements.txt')
  fs.writeFileSync(list, `${requirement}${hash}\n`)
  const watch = setInterval(() => options.onBytes?.(largestUnder(partial)), WATCH_EVERY_MS)
  try {
    // No cache: pip would keep a second copy of a quarter gigabyte that only this cache needs.
    const args = ['-m', 'pip', 'download', '--no-cache-dir', '--disable-pip-version-check', '--no-input']
    args.push('--progress-bar', 'off', '--no-deps', '--only-binary=:all:', '--dest', target)
    const platforms = [pin.platform, ...(pin.extraPlatforms ?? [])]
    args.push('--python-version', pin.pythonVersion, ...platforms.flatMap(one => ['--platform', one]), '-r', list)
    await mustRun(`download of ${requirement}`, advice, options.python, args, {
      env: { TMPDIR: partial },
      timeoutMs: DOWNLOAD_TIMEOUT_MS,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
  } finally {
    clearInterval(watch)
  }
  const wheel = fs.readdirSync(target).find(name => name.endsWith('.whl'))
  if (wheel === undefined) {
    throw new SkeinError(DeviceErrors.SETUP_FAILED, {
      what: `pip said it downloaded ${requirement}, but left no wheel`,
      why: 'its index holds only another form of the package',
      todo: advice,
    })
  }
  return path.join(target, wheel)
}

/** Bytes of the largest file below a folder: the wheel as it grows, and not the copy that pip makes of it at the end. */
function largestUnder(folder: string): number {
  let largest = 0
  for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const stat = fs.statSync(path.join(entry.parentPath, entry.name), { throwIfNoEntry: false })
    largest = Math.max(largest, stat?.size ?? 0)
  }
  return largest
}
