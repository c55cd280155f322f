import os from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { asSkeinError } from '@skein/core'
import { saveCheckpoint } from './save-checkpoint.ts'
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

parentPort?.on('message', ({ id, snapshot }: ToWriter) => {
  last = last.then(async () => {
    parentPort?.postMessage(await write(id, snapshot))
  })
})

async function write(id: number, { buffer, totalElems, tensors, facts }: Snapshot): Promise<FromWriter> {
  const part = (index: number): NamedTensor[] => {
    const flat = new Float32Array(buffer, index * totalElems * Float32Array.BYTES_PER_ELEMENT, totalElems)
    return tensors.map(({ name, shape, offset, elems }) => ({
      name,
      shape,
      data: flat.subarray(offset, offset + elems),
    }))
  }
  try {
    const contents = { ...facts, parameters: part(0), expAvg: part(1), expAvgSq: part(2) }
    return { id, saved: await saveCheckpoint(root, contents, options) }
  } catch (error) {
    return { id, error: asSkeinError(error).toJSON() }
  }
}
