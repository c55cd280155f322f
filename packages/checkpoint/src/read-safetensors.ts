import fs from 'node:fs/promises'
import { formatShape, numElements, SkeinError, sameShape } from '@skein/core'
import { CheckpointErrors } from './errors.ts'
import { fromBfloat16, fromFloat16 } from './half-floats.ts'
import {
  headerBytes,
  malformed,
  parseHeader,
  safetensorsDtypeBytes,
  type SafetensorsHeader,
  type TensorEntry,
} from './safetensors-header.ts'
import { bytesOf, type NamedTensor } from './tensor.ts'

/** An open safetensors file. The header is checked; tensors are read when asked for. Close it. */
export interface SafetensorsFile extends AsyncDisposable {
  readonly file: string
  readonly header: SafetensorsHeader
  /** A tensor as float32 or int32; BF16, F16 and F64 become float32, small integers int32. @throws SKEIN_CHECKPOINT_TENSORS */
  read(name: string): Promise<NamedTensor>
  /**
   * Reads into `tensor.data`, which belongs to the caller; name and shape must be there. With `firstRow` as many rows as `tensor` has, from that one
   * on. @throws SKEIN_CHECKPOINT_TENSORS
   */
  readInto(tensor: NamedTensor, storedName?: string, firstRow?: number): Promise<void>
  close(): Promise<void>
}

/** @throws SKEIN_CHECKPOINT_SAFETENSORS when the file is not as the format demands */
export async function openSafetensors(file: string): Promise<SafetensorsFile> {
  const handle = await openFile(file)
  try {
    const { size } = await handle.stat()
    const first = await readAt(handle, file, 0, Math.min(8, size))
    const header = parseHeader(await readAt(handle, file, 8, headerBytes(first, size, file)), size, file)
    return safetensorsFile(file, handle, header)
  } catch (error) {
    await handle.close()
    throw error
  }
}

function safetensorsFile(file: string, handle: fs.FileHandle, header: SafetensorsHeader): SafetensorsFile {
  let closing: Promise<void> | undefined
  const close = () => {
    closing ??= handle.close()
    return closing
  }
  const entryOf = (name: string) => header.tensors.get(name) ?? missingTensor(file, name, header)
  const readInto = async (tensor: NamedTensor, storedName = tensor.name, firstRow?: number) => {
    const stored = entryOf(storedName)
    const entry = firstRow === undefined ? stored : rowsOfEntry(stored, firstRow, tensor.shape)
    if (!sameShape(entry.shape, tensor.shape)) {
      throw wrongTensor(
        file,
        `has ${storedName} as ${formatShape(entry.shape)}, wanted is ${formatShape(tensor.shape)}`,
      )
    }
    if (numElements(tensor.shape) !== tensor.data.length) {
      throw wrongTensor(file, `cannot be read into ${tensor.data.length} elements for ${formatShape(tensor.shape)}`)
    }
    const isSame = entry.dtype === (tensor.data instanceof Int32Array ? 'I32' : 'F32')
    if (isSame) await fill(handle, file, bytesOf(tensor.data), entry.from)
    else convert(entry, await readAt(handle, file, entry.from, entry.to - entry.from), tensor.data, file)
  }
  return {
    file,
    header,
    async read(name) {
      const { shape, dtype } = entryOf(name)
      const isFloat = dtype === 'F32' || dtype === 'BF16' || dtype === 'F16' || dtype === 'F64'
      const elems = numElements(shape)
      const tensor = { name, shape, data: isFloat ? new Float32Array(elems) : new Int32Array(elems) }
      await readInto(tensor)
      return tensor
    },
    readInto,
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** The same where the rows are not all there: a shape that differs is told of where all are compared. */
function rowsOfEntry(entry: TensorEntry, firstRow: number, [size = 0]: readonly number[]): TensorEntry {
  const [rows = 0, ...row] = entry.shape
  if (firstRow + size > rows) return entry
  const rowBytes = numElements(row) * safetensorsDtypeBytes[entry.dtype]
  const from = entry.from + firstRow * rowBytes
  return { ...entry, shape: [size, ...row], from, to: from + size * rowBytes }
}

async function openFile(file: string): Promise<fs.FileHandle> {
  try {
    return await fs.open(file, 'r')
  } catch (cause) {
    throw new SkeinError(CheckpointErrors.NOT_FOUND, {
      what: `${file} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`,
      todo: 'check the path',
      details: { file },
      cause,
    })
  }
}

async function readAt(
  handle: fs.FileHandle,
  file: string,
  from: number,
  bytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const out = new Uint8Array(bytes)
  await fill(handle, file, out, from)
  return out
}

async function fill(handle: fs.FileHandle, file: string, out: Uint8Array, from: number): Promise<void> {
  for (let done = 0; done < out.length; ) {
    const { bytesRead } = await handle.read(out, done, out.length - done, from + done)
    if (bytesRead === 0) throw malformed(file, `ends at ${from + done} B, in the middle of a tensor`)
    done += bytesRead
  }
}

function convert(
  entry: TensorEntry,
  bytes: Uint8Array<ArrayBuffer>,
  out: Float32Array | Int32Array,
  file: string,
): void {
  const { buffer } = bytes
  if (out instanceof Float32Array) {
    if (entry.dtype === 'BF16') return fromBfloat16(new Uint16Array(buffer), out)
    if (entry.dtype === 'F16') return fromFloat16(new Uint16Array(buffer), out)
    if (entry.dtype === 'F64') return out.set(new Float64Array(buffer))
  } else {
    if (entry.dtype === 'U8' || entry.dtype === 'BOOL') return out.set(bytes)
    if (entry.dtype === 'I8') return out.set(new Int8Array(buffer))
    if (entry.dtype === 'I64')
      return new BigInt64Array(buffer).forEach((value, i) => (out[i] = int32Of(value, entry, file)))
  }
  throw wrongTensor(
    file,
    `has ${entry.name} as ${entry.dtype}, wanted is ${out instanceof Float32Array ? 'F32' : 'I32'}`,
  )
}

function int32Of(value: bigint, entry: TensorEntry, file: string): number {
  if (BigInt.asIntN(32, value) === value) return Number(value)
  throw wrongTensor(file, `has ${value} in ${entry.name}, which does not fit 32 bits`)
}

function missingTensor(file: string, name: string, header: SafetensorsHeader): never {
  const some = [...header.tensors.keys()].slice(0, 3).join(', ')
  throw wrongTensor(file, `has no tensor ${name}; it has ${header.tensors.size} others (${some} …)`)
}

function wrongTensor(file: string, what: string): SkeinError {
  return new SkeinError(CheckpointErrors.TENSORS, {
    what: `${file} ${what}`,
    why: 'the file belongs to another model',
    todo: 'use the job that wrote the file',
    details: { file },
  })
}
