import path from 'node:path'
import { formatShape, numElements, SkeinError, sameShape } from '@skein/core'
import { CheckpointErrors } from './errors.ts'
import type { Manifest } from './manifest.ts'
import { openSafetensors, type SafetensorsFile } from './read-safetensors.ts'
import { badRows } from './rows.ts'
import type { NamedTensor } from './tensor.ts'

/** The tensors of several files, whichever has them, by their stored names. Where files have rows of one, these are one tensor. Close it. */
export interface StoredTensors extends AsyncDisposable {
  names(): Iterable<string>
  /** Whole, in a fresh buffer; of one of `names`. */
  read(name: string): Promise<NamedTensor>
  /** Fills a whole tensor, or `rows` of one, from wherever they lie. @throws SKEIN_CHECKPOINT_TENSORS */
  readInto(tensor: NamedTensor, storedName?: string): Promise<void>
}

/** Rows of a tensor that lie in a file: `size` from `start` of the whole on. */
interface Run {
  readonly file: SafetensorsFile
  readonly start: number
  readonly size: number
}

type Rows = NonNullable<Manifest['files'][number]['rows']>[string]

interface Stored {
  /** Of the whole. */
  readonly shape: readonly number[]
  readonly isCut: boolean
  /** One where it is not cut. */
  readonly runs: readonly [Run, ...Run[]]
}

/**
 * @param files with their paths as names; of the rows that they name, each is in one of them (`assertAllRows`)
 * @throws SKEIN_CHECKPOINT_ROWS where a file has others than it should, or a tensor that is in another one
 */
export async function openStored(
  files: readonly Pick<Manifest['files'][number], 'name' | 'rows'>[],
): Promise<StoredTensors> {
  const open: SafetensorsFile[] = []
  const close = async () => {
    for (const file of open) await file.close()
  }
  try {
    const byName = new Map<string, Stored>()
    for (const { name, rows = {} } of files) {
      const file = await openSafetensors(name)
      open.push(file)
      for (const tensor of Object.keys(rows)) {
        if (!file.header.tensors.has(tensor))
          throw badRows(name, tensor, 'the manifest names rows of it in this file, which has none')
      }
      for (const [tensor, { shape }] of file.header.tensors) {
        byName.set(tensor, joined(tensor, byName.get(tensor), file, shape, rows[tensor]))
      }
    }
    return storedTensors(byName, open, close)
  } catch (error) {
    await close()
    throw error
  }
}

/** What is known of a tensor, with what a further file has of it. */
function joined(
  tensor: string,
  before: Stored | undefined,
  file: SafetensorsFile,
  shape: readonly number[],
  rows: Rows | undefined,
): Stored {
  const bad = (wrong: string) => badRows(path.dirname(file.file), tensor, wrong)
  const here = path.basename(file.file)
  if (before !== undefined && (rows === undefined || !before.isCut)) {
    throw bad(`${path.basename(before.runs[0].file.file)} and ${here} both have it`)
  }
  const [size = 0, ...row] = shape
  if (rows === undefined) return { shape, isCut: false, runs: [{ file, start: 0, size }] }
  if (size !== rows.size) throw bad(`${here} should have ${rows.size} rows of it and has ${formatShape(shape)}`)
  if (before === undefined) return { shape: [rows.of, ...row], isCut: true, runs: [{ file, start: rows.start, size }] }
  if (!sameShape(before.shape.slice(1), row)) {
    throw bad(`${here} has ${formatShape(shape)}, rows of another length than ${formatShape(before.shape)} has`)
  }
  return { ...before, runs: [...before.runs, { file, start: rows.start, size }] }
}

function storedTensors(
  byName: ReadonlyMap<string, Stored>,
  files: readonly SafetensorsFile[],
  close: () => Promise<void>,
): StoredTensors {
  const readInto = async (tensor: NamedTensor, storedName = tensor.name) => {
    const stored = byName.get(storedName)
    // What none has, the last one says that it lacks.
    if (stored === undefined) return files.at(-1)?.readInto(tensor, storedName)
    const { rows, data } = tensor
    if (rows === undefined && !stored.isCut) return stored.runs[0].file.readInto(tensor, storedName)
    const [size = 0, ...row] = tensor.shape
    const { start: first, of } = rows ?? { start: 0, of: size }
    const fits = sameShape(stored.shape, [of, ...row]) && first + size <= of
    if (!fits || numElements(tensor.shape) !== data.length) throw otherShape(tensor, storedName, stored)
    const rowElems = numElements(row)
    for (const run of stored.runs) {
      const from = Math.max(first, run.start)
      const to = Math.min(first + size, run.start + run.size)
      if (from >= to) continue
      const part = data.subarray((from - first) * rowElems, (to - first) * rowElems)
      const wanted = { name: tensor.name, shape: [to - from, ...row], data: part }
      await run.file.readInto(wanted, storedName, from - run.start)
    }
  }
  return {
    names: () => byName.keys(),
    async read(name) {
      const { shape, isCut, runs } = byName.get(name) as Stored
      if (!isCut) return runs[0].file.read(name)
      const tensor = { name, shape, data: new Float32Array(numElements(shape)) }
      await readInto(tensor)
      return tensor
    },
    readInto,
    [Symbol.asyncDispose]: close,
  }
}

function otherShape({ name, shape, rows, data }: NamedTensor, stored: string, { shape: whole, runs }: Stored) {
  const wanted = rows === undefined ? '' : `, rows from ${rows.start} on of ${rows.of}`
  return new SkeinError(CheckpointErrors.TENSORS, {
    what: `${path.dirname(runs[0].file.file)} has ${stored} as ${formatShape(whole)}; wanted is ${formatShape(shape)}${wanted}, in ${data.length} elements`,
    why: 'the checkpoint belongs to another model',
    todo: 'use the job that wrote it',
    details: { name, stored, shape, whole },
  })
}
