import { createHash } from 'node:crypto'
import fs from 'node:fs/promises'
import { formatShape, numElements, SkeinError } from '@skein/core'
import { CheckpointErrors } from './errors.ts'
import { toBfloat16 } from './half-floats.ts'
import { encodeHeader, type SafetensorsDtype } from './safetensors-header.ts'
import { bytesOf, type NamedTensor } from './tensor.ts'

export interface WriteOptions {
  /** Text about the file, for any reader. */
  readonly metadata?: Readonly<Record<string, string>>
  /** What float32 tensors become on disk. Default F32. */
  readonly floats?: 'F32' | 'BF16'
}

/** A file that was written and is on the disk (fsync). */
export interface WrittenFile {
  readonly bytes: number
  /** Hex. */
  readonly sha256: string
}

/** Written, and hashed, in pieces of this size, so that the thread is never away for long. */
const pieceBytes = 4 * 1024 * 1024

/**
 * Writes tensors as a safetensors file, in the order given, streaming: no copy of a float32 or int32 tensor is made. Borrows
 * the tensors until it settles. Replaces what is there. @throws SKEIN_CHECKPOINT_TENSORS for data that does not fit its shape
 */
export async function writeSafetensors(
  file: string,
  tensors: readonly NamedTensor[],
  options: WriteOptions & { readonly signal?: AbortSignal } = {},
): Promise<WrittenFile> {
  return writeFile(file, safetensorsParts(tensors, options), options.signal)
}

/** The bytes of a safetensors file, part by part; parts are views where no conversion is asked for. @throws as `writeSafetensors`, at once */
export function safetensorsParts(tensors: readonly NamedTensor[], options: WriteOptions): Iterable<Uint8Array> {
  for (const { name, shape, data } of tensors) {
    if (numElements(shape) === data.length) continue
    throw new SkeinError(CheckpointErrors.TENSORS, {
      what: `tensor ${name} has ${data.length} elements, its shape ${formatShape(shape)} ${numElements(shape)}`,
      todo: 'give a view of exactly the elements of the tensor',
      details: { name, shape, elems: data.length },
    })
  }
  const floats = options.floats ?? 'F32'
  const dtypeOf = (tensor: NamedTensor): SafetensorsDtype => (tensor.data instanceof Int32Array ? 'I32' : floats)
  // Wider elements first, so that every tensor is aligned to its own element size.
  const ordered = tensors
    .map(tensor => ({ ...tensor, dtype: dtypeOf(tensor) }))
    .sort((a, b) => Number(a.dtype === 'BF16') - Number(b.dtype === 'BF16'))
  const header = encodeHeader(ordered, options.metadata ?? {})
  return (function* () {
    yield header.bytes
    for (const { data, dtype } of ordered) {
      yield bytesOf(dtype === 'BF16' && data instanceof Float32Array ? toBfloat16(data) : data)
    }
  })()
}

/** Writes parts one after the other, hashing them, and syncs the file to the disk. */
export async function writeFile(file: string, parts: Iterable<Uint8Array>, signal?: AbortSignal): Promise<WrittenFile> {
  const hash = createHash('sha256')
  let bytes = 0
  const handle = await fs.open(file, 'w')
  try {
    for (const part of parts) {
      for (let from = 0; from < part.length; from += pieceBytes) {
        signal?.throwIfAborted()
        const piece = part.subarray(from, Math.min(part.length, from + pieceBytes))
        hash.update(piece)
        await writeAll(handle, piece)
      }
      bytes += part.length
    }
    await handle.sync()
  } finally {
    await handle.close()
  }
  return { bytes, sha256: hash.digest('hex') }
}

async function writeAll(handle: fs.FileHandle, piece: Uint8Array): Promise<void> {
  for (let from = 0; from < piece.length; ) {
    const { bytesWritten } = await handle.write(piece, from, piece.length - from)
    from += bytesWritten
  }
}
