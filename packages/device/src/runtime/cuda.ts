import fs from 'node:fs'
import path from 'node:path'
import type { WheelPin } from '../config.ts'
import { downloadRequirement } from './download.ts'
import { type OnProgress, stageReporter } from './progress.ts'
import { extractZipEntry, listZip } from './zip.ts'

export interface CudaOptions {
  readonly python: string
  /** A folder of the caller's, removed after the set-up. */
  readonly folder: string
  /** The runtime being built; the libraries come to `nvidia/*` of it, where the wheel's own `$ORIGIN/../nvidia` paths look. */
  readonly runtime: string
  readonly onProgress?: OnProgress
  readonly signal?: AbortSignal
}

/**
 * Downloads the CUDA libraries that the wheel names under its extra and unpacks their `lib` folders.
 * Not verified: no machine with an NVIDIA device was at hand.
 * @throws SKEIN_DEVICE_SETUP_FAILED, SKEIN_DEVICE_ARCHIVE_BROKEN
 */
export async function addCudaLibraries(wheel: string, pin: WheelPin, options: CudaOptions): Promise<void> {
  const entry = listZip(wheel).find(one => /^[^/]+\.dist-info\/METADATA$/.test(one.name))
  if (entry === undefined || pin.extra === undefined) return
  const metadata = path.join(options.folder, 'METADATA')
  await extractZipEntry(wheel, entry, metadata, options)
  for (const requirement of extraRequirements(fs.readFileSync(metadata, 'utf8'), pin.extra)) {
    const report = stageReporter('download', `${requirement} (with pip)`, options)
    const part = await downloadRequirement(requirement, '', pin, { ...options, onBytes: report })
    report(fs.statSync(part).size, true)
    for (const member of listZip(part)) {
      if (!/^nvidia\/.*\/lib\/[^/]+\.so[.0-9]*$/.test(member.name)) continue
      await extractZipEntry(part, member, path.join(options.runtime, member.name), options)
    }
    fs.rmSync(part)
  }
}

/** The requirements that a wheel's METADATA lists under an extra, without their markers, as pip takes them. */
export function extraRequirements(metadata: string, extra: string): string[] {
  const found: string[] = []
  for (const line of metadata.split(/\r?\n/)) {
    const match = /^Requires-Dist:\s*([^;]+);(.*)$/.exec(line)
    if (match?.[1] === undefined || !new RegExp(`extra\\s*==\\s*["']${extra}["']`).test(match[2] ?? '')) continue
    found.push(match[1].replace(/[()\s]/g, ''))
  }
  return found
}
