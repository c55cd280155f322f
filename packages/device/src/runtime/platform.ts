import fs from 'node:fs'
import { minimumGlibc } from '../config.ts'

/** What decides whether a TensorFlow wheel can run here. Plain values, so that every platform can be tested on one. */
export interface PlatformFacts {
  readonly platform: string
  readonly arch: string
  /** Version of glibc; undefined on musl (Alpine) and outside Linux. */
  readonly glibc: string | undefined
  /** Whether the CPU has AVX, which the wheels are compiled for; undefined when it cannot be known. */
  readonly avx: boolean | undefined
}

/** The facts of this machine. */
export function platformFacts(): PlatformFacts {
  return { platform: process.platform, arch: process.arch, glibc: glibcVersion(), avx: hasAvx() }
}

function glibcVersion(): string | undefined {
  if (process.platform !== 'linux') return undefined
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  return report.header?.glibcVersionRuntime
}

function hasAvx(): boolean | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined
  try {
    const flags = /^flags\s*:(.*)$/m.exec(fs.readFileSync('/proc/cpuinfo', 'utf8'))?.[1]
    return flags?.split(' ').includes('avx')
  } catch {
    return undefined
  }
}

export type PlatformVerdict =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: string; readonly advice: string }

/** Whether the wheels that Skein knows run on this platform, and if not, which fact forbids it. */
export function judgePlatform(facts: PlatformFacts): PlatformVerdict {
  if (facts.platform !== 'linux' || facts.arch !== 'x64') {
    return {
      ok: false,
      reason: `libtensorflow is taken from a Linux x64 wheel, and this is ${facts.platform} ${facts.arch}`,
      advice: 'run the workers on Linux x64 (a container or virtual machine will do)',
    }
  }
  if (facts.glibc === undefined) {
    return {
      ok: false,
      reason: 'libtensorflow needs glibc, and this Linux has another C library (musl, as on Alpine)',
      advice: 'use a glibc distribution such as Debian or Ubuntu, for example as the base of the container',
    }
  }
  if (compareVersions(facts.glibc, minimumGlibc) < 0) {
    return {
      ok: false,
      reason: `libtensorflow needs glibc ${minimumGlibc} or later, and this is ${facts.glibc}`,
      advice: 'use a distribution from 2018 or later',
    }
  }
  if (facts.avx === false) {
    return {
      ok: false,
      reason: 'libtensorflow is compiled for CPUs with AVX, and this CPU has none',
      advice: 'use a CPU from 2012 or later; in a virtual machine pass the host CPU through',
    }
  }
  return { ok: true }
}

/** Whether the NVIDIA driver shows a device, whatever its number: a container may have been given the third. */
export function hasNvidia(): boolean {
  return fs.existsSync('/dev') && fs.readdirSync('/dev').some(name => /^nvidia\d+$/.test(name))
}

/** Compares dotted numbers: negative when a < b. */
export function compareVersions(a: string, b: string): number {
  const left = a.split('.').map(Number)
  const right = b.split('.').map(Number)
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
