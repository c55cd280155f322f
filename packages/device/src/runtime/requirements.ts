import { SkeinError } from '@skein/core'
import { setupDiskBytes } from '../config.ts'
import { DeviceErrors } from '../errors.ts'
import { freeBytes } from './disk.ts'
import { judgePlatform, platformFacts } from './platform.ts'
import { findTools } from './tools.ts'

/** The programs that a set-up runs, all found. */
export interface SetupPrograms {
  readonly python: string
  readonly compiler: string
}

/**
 * Looks for everything that a set-up needs; whatever is missing comes in one error, so that one `apt-get install` mends it.
 * @throws SKEIN_DEVICE_TOOL_MISSING, SKEIN_DEVICE_SETUP_FAILED (no space below `root`)
 */
export async function requireTools(root: string, signal?: AbortSignal): Promise<SetupPrograms> {
  const facts = platformFacts()
  const verdict = judgePlatform(facts)
  if (!verdict.ok) {
    throw new SkeinError(DeviceErrors.TOOL_MISSING, {
      what: verdict.reason,
      todo: verdict.advice,
      details: { ...facts },
    })
  }
  const { python, compiler, missing, packages } = await findTools(signal)
  if (missing.length > 0 || python === undefined || compiler === undefined) {
    throw new SkeinError(DeviceErrors.TOOL_MISSING, {
      what: `missing on this machine: ${missing.join(', ')}`,
      why: 'pip brings libtensorflow, and g++ compiles the addon that binds it to Node',
      todo: `\`apt-get install ${packages.join(' ')}\` (Debian, Ubuntu; other systems have packages of like names), then \`skein setup\``,
      details: { missing, packages },
    })
  }
  requireDisk(root)
  return { python, compiler }
}

function requireDisk(root: string): void {
  const free = freeBytes(root)
  if (free >= setupDiskBytes) return
  throw new SkeinError(DeviceErrors.SETUP_FAILED, {
    what: `${megabytes(free)} MB are free at ${root}, and the set-up needs ${megabytes(setupDiskBytes)} MB`,
    todo: 'free some space, or point XDG_CACHE_HOME at a larger disk',
    details: { freeBytes: free, neededBytes: setupDiskBytes },
  })
}

const megabytes = (bytes: number) => Math.round(bytes / 1e6)
