import os from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { asSkeinError } from '@skein/core'
import { type CheckpointContents, type SavedCheckpoint, saveCheckpoint } from './save-checkpoint.ts'
import { discardParts, publishParts, savePart } from './save-parts.ts'
import type { NamedTensor } from './tensor.ts'
import type { FromWriter, Snapshot, ToWriter, WriterOptions } from './writer-messages.ts'

/**
 * The writer thread of a worker: names, hashes, writes and syncs, while the device thread trains. One snapshot after the other, in the order they
 * were sent.
 */
const { root, ...options } = workerData as WriterOptions
let last: Promise<void> = Promise.resolve()

// On Linux, of this thread alone: where kernels use every core, hashing takes little from them, and is not starved. Elsewhere it would be the whole process.
if (process.platform === 'linux') os.setPriority(0, os.constants.priority.PRIORITY_BELOW_NORMAL)

parentPort?.on('message', (message: ToWriter) => {
  last = last.then(async () => {
    parentPort?.postMessage(await done(message))
  })
})

async function done(message: ToWriter): Promise<FromWriter> {
  const { id } = message
  try {
    return { id, saved: await write(message) }
  } catch (error) {
    return { id, error: asSkeinError(error).toJSON() }
  }
}

async function write(message: ToWriter): Promise<SavedCheckpoint | undefined> {
  if ('publish' in message) return publishParts(root, message.publish, options)
  if ('discard' in message) {
    await discardParts(root, message.discard, options)
    return undefined
  }
  const contents = contentsOf(message.snapshot)
  if (message.place === undefined) return saveCheckpoint(root, contents, options)
  await savePart(root, contents, message.place, options)
  return undefined
}

function contentsOf({ buffer, totalElems, tensors, facts }: Snapshot): CheckpointContents {
  const part = (index: number): NamedTensor[] => {
    const flat = new Float32Array(buffer, index * totalElems * Float32Array.BYTES_PER_ELEMENT, totalElems)
    return tensors.map(({ offset, elems, ...tensor }) => ({ ...tensor, data: flat.subarray(offset, offset + elems) }))
  }
  return { ...facts, parameters: part(0), expAvg: part(1), expAvgSq: part(2) }
}
