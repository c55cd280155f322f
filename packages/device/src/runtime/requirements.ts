import fs from 'node:fs'
import { SkeinError } from '@skein/core'
import { setupDiskBytes } from '../config.ts'
import { DeviceErrors } from '../errors.ts'
import { judgePlatform, platformFacts } from './platform.ts'
import { findCompiler, findPip, findPython } from './tools.ts'

/** The programs that a set-up runs. */
export interface Tools {
  readonly python: string
  readonly compiler: string
}

/**
 * Looks for everything that a set-up needs; whatever is missing comes in one error, so that one `apt-get install` mends it.
 * @throws SKEIN_DEVICE_TOOL_MISSING, SKEIN_DEVICE_SETUP_FAILED (no space below `root`)
 */
export async function requireTools(root: string, signal?: AbortSignal): Promise<Tools> {
  const facts = platformFacts()
  const verdict = judgePlatform(facts)
  if (!verdict.ok) {
    throw new SkeinError(DeviceErrors.TOOL_MISSING, {
      what: verdict.reason,
      todo: verdict.advice,
      details: { ...facts },
    })
  }
  const python = await findPython(signal)
  const [pip, compiler] = await Promise.all([findPip(python.program, signal), findCompiler(signal)])
  const missing: string[] = []
  const packages: string[] = []
  if (!python.ok) missing.push('python3')
  if (!python.ok) packages.push('python3')
  if (!pip.ok) missing.push('pip for python3')
  if (!pip.ok) packages.push('python3-pip')
  if (!compiler.ok) missing.push('g++')
  if (!compiler.ok) packages.push('g++')
  if (missing.length > 0 || python.program === undefined || compiler.program === undefined) {
    throw new SkeinError(DeviceErrors.TOOL_MISSING, {
      what: `missing on this machine: ${missing.join(', ')}`,
      why: 'pip brings libtensorflow, and g++ compiles the addon that binds it to Node',
      todo: `\`apt-get install ${packages.join(' ')}\` (Debian, Ubuntu; other systems have packages of like names), then \`skein setup\``,
      details: { missing, packages },
    })
  }
  requireDisk(root)
  return { python: python.program, compiler: compiler.program }
}

function requireDisk(root: string): void {
  fs.mkdirSync(root, { recursive: true })
  const disk = fs.statfsSync(root)
  const free = disk.bavail * disk.bsize
  if (free >= setupDiskBytes) return
  throw new SkeinError(DeviceErrors.SETUP_FAILED, {
    what: `${megabytes(free)} MB are free at ${root}, and the set-up needs ${megabytes(setupDiskBytes)} MB`,
    todo: 'free some space, or point XDG_CACHE_HOME at a larger disk',
    details: { freeBytes: free, neededBytes: setupDiskBytes },
  })
}

const megabytes = (bytes: number) => Math.round(bytes / 1e6)
