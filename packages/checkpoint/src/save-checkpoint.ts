import fs from 'node:fs/promises'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { CheckpointErrors } from './errors.ts'
import {
  checkpointFolderName,
  checkpointFolderPattern,
  latestFileName,
  type Manifest,
  manifestFileName,
  manifestFormat,
  modelFileName,
  momentPrefixes,
  optimizerFileName,
} from './manifest.ts'
import type { NamedTensor } from './tensor.ts'
import { writeFile, writeSafetensors } from './write-safetensors.ts'

/** Everything a run needs to go on, and what it was. Tensors are borrowed until `saveCheckpoint` settles. */
export interface CheckpointContents extends Omit<Manifest, 'format' | 'files'> {
  readonly parameters: readonly NamedTensor[]
  /** AdamW's first moments, one for each parameter and under its name. */
  readonly expAvg: readonly NamedTensor[]
  /** AdamW's second moments. */
  readonly expAvgSq: readonly NamedTensor[]
}

export interface SaveOptions {
  /** Checkpoints to keep in the folder, this one included; the oldest go. 0 keeps all. Default 0. */
  readonly keep?: number
  readonly signal?: AbortSignal
}

export interface SavedCheckpoint {
  /** The checkpoint's own folder. */
  readonly path: string
  readonly bytes: number
}

const temporaryPrefix = '.writing-'
const replacedPrefix = '.replaced-'

/**
 * Writes `root/step-00000500/` so that it is either whole or not there: into a sibling folder, tensors first, manifest last,
 * everything synced to the disk, then renamed. After that `root/LATEST` names it, and checkpoints beyond `keep` are removed.
 * One writer a root. @throws SKEIN_CHECKPOINT_WRITE
 */
export async function saveCheckpoint(
  root: string,
  contents: CheckpointContents,
  options: SaveOptions = {},
): Promise<SavedCheckpoint> {
  const { parameters, expAvg, expAvgSq, ...facts } = contents
  const name = checkpointFolderName(contents.step)
  const folder = path.join(root, name)
  const temporary = path.join(root, `${temporaryPrefix}${name}`)
  const { signal } = options
  try {
    await fs.mkdir(root, { recursive: true })
    await removeLeftovers(root)
    await fs.mkdir(temporary)
    const writeOptions = { metadata: { format: 'pt', step: String(contents.step) }, ...(signal && { signal }) }
    const prefixed = (prefix: string, tensors: readonly NamedTensor[]) =>
      tensors.map(tensor => ({ ...tensor, name: `${prefix}${tensor.name}` }))
    const moments = [...prefixed(momentPrefixes.expAvg, expAvg), ...prefixed(momentPrefixes.expAvgSq, expAvgSq)]
    const model = await writeSafetensors(path.join(temporary, modelFileName), parameters, writeOptions)
    const optimizer = await writeSafetensors(path.join(temporary, optimizerFileName), moments, writeOptions)
    const manifest: Manifest = {
      format: manifestFormat,
      ...facts,
      files: [
        { name: modelFileName, ...model },
        { name: optimizerFileName, ...optimizer },
      ],
    }
    const text = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`)
    await writeFile(path.join(temporary, manifestFileName), [text])
    await syncFolder(temporary)
    await moveIntoPlace(root, temporary, name)
    await pointLatestAt(root, name)
    await removeOld(root, name, options.keep ?? 0)
    return { path: folder, bytes: model.bytes + optimizer.bytes + text.length }
  } catch (cause) {
    await fs.rm(temporary, { recursive: true, force: true }).catch(() => undefined)
    if (cause instanceof SkeinError || signal?.aborted === true) throw cause
    throw writeError(folder, cause)
  }
}

/** What a writer that was killed left behind: a folder never finished, or a replaced one whose successor is not in place. */
async function removeLeftovers(root: string): Promise<void> {
  const names = await fs.readdir(root)
  for (const name of names) {
    const restored = name.startsWith(replacedPrefix) ? name.slice(replacedPrefix.length) : undefined
    if (restored !== undefined && !names.includes(restored)) {
      await fs.rename(path.join(root, name), path.join(root, restored))
    } else if (restored !== undefined || name.startsWith(temporaryPrefix)) {
      await fs.rm(path.join(root, name), { recursive: true, force: true })
    }
  }
}

async function moveIntoPlace(root: string, temporary: string, name: string): Promise<void> {
  const folder = path.join(root, name)
  const replaced = path.join(root, `${replacedPrefix}${name}`)
  const isThere = await fs.stat(folder).then(
    () => true,
    () => false,
  )
  if (isThere) await fs.rename(folder, replaced)
  await fs.rename(temporary, folder)
  await syncFolder(root)
  if (isThere) await fs.rm(replaced, { recursive: true, force: true })
}

async function pointLatestAt(root: string, name: string): Promise<void> {
  const temporary = path.join(root, `${temporaryPrefix}${latestFileName}`)
  await writeFile(temporary, [Buffer.from(`${name}\n`)])
  await fs.rename(temporary, path.join(root, latestFileName))
  await syncFolder(root)
}

async function removeOld(root: string, newest: string, keep: number): Promise<void> {
  if (keep <= 0) return
  const names = (await fs.readdir(root)).filter(name => checkpointFolderPattern.test(name) && name !== newest)
  const older = names.sort((a, b) => stepOf(a) - stepOf(b))
  for (const name of older.slice(0, Math.max(0, older.length - (keep - 1)))) {
    // The manifest goes first: what is left of a removal that was cut off is no checkpoint.
    await fs.rm(path.join(root, name, manifestFileName), { force: true })
    await fs.rm(path.join(root, name), { recursive: true, force: true })
  }
}

const stepOf = (name: string) => Number(checkpointFolderPattern.exec(name)?.[1])

/** Makes names in a folder durable. Platforms that cannot open a folder (Windows) do it by themselves. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await fs.open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function writeError(folder: string, cause: unknown): SkeinError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const known: Readonly<Record<string, string>> = {
    ENOSPC: 'the disk is full',
    EDQUOT: 'the quota of this user is used up',
    EACCES: 'the folder is not writable for this user',
    EROFS: 'the file system is read-only',
    ENOTDIR: 'a part of the path is a file',
  }
  return new SkeinError(CheckpointErrors.WRITE, {
    what: `the checkpoint ${folder} could not be written: ${cause instanceof Error ? cause.message : String(cause)}`,
    ...(known[code] === undefined ? {} : { why: known[code] }),
    todo: 'free space or give another folder in checkpoint.to; older checkpoints are untouched',
    details: { folder, errno: code },
    cause,
  })
}
