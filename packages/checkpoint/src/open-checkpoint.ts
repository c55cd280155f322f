import { createHash } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { z } from 'zod'
import { CheckpointErrors } from './errors.ts'
import { findCheckpoint, noManifest } from './find-checkpoint.ts'
import {
  type Manifest,
  manifestFileName,
  manifestFormat,
  manifestSchema,
  modelFileName,
  momentPrefixes,
  optimizerFileName,
} from './manifest.ts'
import { openSafetensors } from './read-safetensors.ts'
import type { NamedTensor } from './tensor.ts'

/** A checkpoint whose files are whole. */
export interface Checkpoint {
  /** The checkpoint's own folder. */
  readonly path: string
  readonly manifest: Manifest
  /** All parameters, in fresh buffers. */
  readParameters(): Promise<readonly NamedTensor[]>
  /** Fills the caller's parameters, found by name. @throws SKEIN_CHECKPOINT_TENSORS */
  readParametersInto(tensors: readonly NamedTensor[]): Promise<void>
  /** Fills the caller's AdamW moments; each list has the names of the parameters. @throws SKEIN_CHECKPOINT_TENSORS */
  readMomentsInto(expAvg: readonly NamedTensor[], expAvgSq: readonly NamedTensor[]): Promise<void>
}

export interface OpenOptions {
  readonly signal?: AbortSignal
}

/**
 * Finds the checkpoint that `given` means (see `findCheckpoint`), and checks length and SHA-256 of its files.
 *
 * @throws SKEIN_CHECKPOINT_NOT_FOUND, _NO_MANIFEST, _FORMAT, _CUT_SHORT, _CORRUPT
 */
export async function openCheckpoint(given: string, options: OpenOptions = {}): Promise<Checkpoint> {
  const folder = await findCheckpoint(given)
  const manifest = await readManifest(folder)
  for (const file of manifest.files) await verifyFile(folder, file, options.signal)
  const fillFrom = async (fileName: string, lists: readonly (readonly [string, readonly NamedTensor[]])[]) => {
    await using file = await openSafetensors(path.join(folder, fileName))
    for (const [prefix, tensors] of lists) {
      for (const tensor of tensors) await file.readInto(tensor, `${prefix}${tensor.name}`)
    }
  }
  return {
    path: folder,
    manifest,
    async readParameters() {
      await using file = await openSafetensors(path.join(folder, modelFileName))
      const tensors: NamedTensor[] = []
      for (const name of file.header.tensors.keys()) tensors.push(await file.read(name))
      return tensors
    },
    readParametersInto: tensors => fillFrom(modelFileName, [['', tensors]]),
    readMomentsInto: (expAvg, expAvgSq) =>
      fillFrom(optimizerFileName, [
        [momentPrefixes.expAvg, expAvg],
        [momentPrefixes.expAvgSq, expAvgSq],
      ]),
  }
}

/** The manifest of a checkpoint folder, checked; its files are not looked at. */
export async function readManifest(folder: string): Promise<Manifest> {
  const file = path.join(folder, manifestFileName)
  const text = await fs.readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) throw noManifest(folder)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw badFormat(file, `is not JSON (${cause instanceof Error ? cause.message : String(cause)})`)
  }
  const format = (value as { readonly format?: unknown } | null)?.format
  if (format !== manifestFormat) {
    throw badFormat(
      file,
      `is of format ${JSON.stringify(format)}, this version of Skein reads format ${manifestFormat}`,
    )
  }
  const parsed = manifestSchema.safeParse(value)
  if (!parsed.success)
    throw badFormat(file, `is not a manifest: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`)
  return parsed.data
}

async function verifyFile(
  folder: string,
  file: Manifest['files'][number],
  signal: AbortSignal | undefined,
): Promise<void> {
  const name = path.join(folder, file.name)
  const handle = await fs.open(name, 'r').catch((cause: unknown) => {
    throw cutShort(name, file.bytes, undefined, cause)
  })
  try {
    const { size } = await handle.stat()
    if (size !== file.bytes) throw cutShort(name, file.bytes, size)
    const hash = createHash('sha256')
    for await (const piece of handle.createReadStream({
      highWaterMark: 1024 * 1024,
      autoClose: false,
      ...(signal && { signal }),
    })) {
      hash.update(piece as Buffer)
    }
    const sha256 = hash.digest('hex')
    if (sha256 === file.sha256) return
    throw new SkeinError(CheckpointErrors.CORRUPT, {
      what: `${name} has SHA-256 ${sha256.slice(0, 12)}…, its manifest says ${file.sha256.slice(0, 12)}…`,
      why: 'bytes of the file changed after it was written: a failing disk, a bad copy, or an edit',
      todo: 'use an older checkpoint, or copy this one again from where it came',
      details: { file: name, sha256, expected: file.sha256 },
    })
  } finally {
    await handle.close()
  }
}

function cutShort(name: string, expected: number, bytes: number | undefined, cause?: unknown): SkeinError {
  return new SkeinError(CheckpointErrors.CUT_SHORT, {
    what: bytes === undefined ? `${name} is missing` : `${name} has ${bytes} B, its manifest says ${expected} B`,
    why: 'a copy of the checkpoint was cut off, or a file was removed',
    todo: 'use an older checkpoint, or copy this one again from where it came',
    details: { file: name, bytes, expected },
    ...(cause === undefined ? {} : { cause }),
  })
}

function badFormat(file: string, what: string): SkeinError {
  return new SkeinError(CheckpointErrors.FORMAT, {
    what: `${file} ${what}`,
    why: 'it was written by another version of Skein, or is damaged',
    todo: 'use the version of Skein that wrote it, or another checkpoint',
    details: { file },
  })
}
