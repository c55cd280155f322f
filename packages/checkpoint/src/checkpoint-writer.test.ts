import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { CheckpointWriter, type Snapshot, snapshotBytes } from './checkpoint-writer.ts'
import { openCheckpoint } from './open-checkpoint.ts'

const shape = [300, 1000]
const elems = 300_000

/** Parameters `value`, first moments half of it, second moments a quarter. */
function snapshotOf(step: number, value: number): Snapshot {
  const buffer = new SharedArrayBuffer(snapshotBytes(elems))
  for (let i = 0; i < 3; i++) new Float32Array(buffer, i * elems * 4, elems).fill(value / 2 ** i)
  return {
    buffer,
    totalElems: elems,
    tensors: [{ name: 'w', shape, offset: 0, elems }],
    facts: { step, samplesSeen: step, seed: 1, digest: 'd', generation: 1, job: {}, model: {}, createdBy: {} },
  }
}

const valuesOf = async (location: string) => {
  const checkpoint = await openCheckpoint(location)
  const zeros = () => [{ name: 'w', shape, data: new Float32Array(elems) }]
  const [parameters, expAvg, expAvgSq] = [zeros(), zeros(), zeros()]
  await checkpoint.readParametersInto(parameters)
  await checkpoint.readMomentsInto(expAvg, expAvgSq)
  return [parameters, expAvg, expAvgSq].map(([tensor]) => [...new Set(tensor?.data)])
}

describe('the writer thread', () => {
  test('writes what the snapshot holds, one after the other, while this thread goes on', async () => {
    using folder = temporaryFolder('writer')
    const writer = new CheckpointWriter({ root: folder.path, keep: 2 })
    try {
      let turns = 0
      const turning = setInterval(() => turns++, 1)
      const saves = [1, 2, 3].map(step => writer.save(snapshotOf(step, step)))
      const saved = await Promise.all(saves)
      clearInterval(turning)
      expect(saved.map(one => path.basename(one.path))).toEqual(['step-00000001', 'step-00000002', 'step-00000003'])
      expect(turns).toBeGreaterThan(1)
      expect(await valuesOf(folder.path)).toEqual([[3], [1.5], [0.75]])
      expect(fs.readdirSync(folder.path).sort()).toEqual(['LATEST', 'step-00000002', 'step-00000003'])
    } finally {
      await writer.close()
    }
  })

  test('writes the part of a checkpoint that another one publishes', async () => {
    using folder = temporaryFolder('writer')
    const writers = [new CheckpointWriter({ root: folder.path }), new CheckpointWriter({ root: folder.path })]
    const part = (step: number, name: string): Snapshot => {
      const snapshot = snapshotOf(step, step)
      return { ...snapshot, tensors: snapshot.tensors.map(tensor => ({ ...tensor, name })) }
    }
    try {
      await Promise.all(writers.map((writer, i) => writer.savePart(part(5, `w${i}`), { part: i, parts: 2 })))
      const saved = await writers[0]?.publish({ step: 5, parts: 2, generation: 1 })
      expect(saved?.path).toBe(path.join(folder.path, 'step-00000005'))
      const checkpoint = await openCheckpoint(folder.path)
      expect((await checkpoint.readParameters()).map(({ name }) => name)).toEqual(['w0', 'w1'])
      await writers[0]?.savePart(part(6, 'w0'), { part: 0, parts: 2 })
      await writers[0]?.discard({ step: 6, generation: 1 })
      expect(fs.readdirSync(folder.path).sort()).toEqual(['LATEST', 'step-00000005'])
    } finally {
      for (const writer of writers) await writer.close()
    }
  })

  test('that is closed tells who waits, and leaves the former checkpoint', async () => {
    using folder = temporaryFolder('writer')
    const writer = new CheckpointWriter({ root: folder.path })
    await writer.save(snapshotOf(1, 1))
    const second = writer.save(snapshotOf(2, 2))
    await Promise.all([expect(second).rejects.toMatchObject({ code: 'SKEIN_CHECKPOINT_WRITER_DIED' }), writer.close()])
    expect((await openCheckpoint(path.join(folder.path, 'step-00000001'))).manifest.step).toBe(1)
  })
})

/** A file system of 6 MB: one checkpoint of 3.6 MB fits, a second one does not. */
const smallDisk = (place: string) => execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', place])
const canMount = process.getuid?.() === 0 && process.platform === 'linux' && mountWorks()

function mountWorks(): boolean {
  using folder = temporaryFolder('mount')
  try {
    smallDisk(folder.path)
    execFileSync('umount', [folder.path])
    return true
  } catch {
    return false
  }
}

describe.skipIf(!canMount)('a disk that is full', () => {
  test('fails one write: nothing of it stays, the former checkpoint does, and a later write succeeds', async () => {
    using folder = temporaryFolder('full')
    smallDisk(folder.path)
    const writer = new CheckpointWriter({ root: folder.path, keep: 1 })
    try {
      await writer.save(snapshotOf(1, 1))
      await expect(writer.save(snapshotOf(2, 2))).rejects.toMatchObject({
        code: 'SKEIN_CHECKPOINT_WRITE',
        why: 'the disk is full',
      })
      expect(fs.readdirSync(folder.path).sort()).toEqual(['LATEST', 'step-00000001'])
      expect(await valuesOf(folder.path)).toEqual([[1], [0.5], [0.25]])
      fs.rmSync(path.join(folder.path, 'step-00000001'), { recursive: true })
      await writer.save(snapshotOf(3, 3))
      expect(await valuesOf(folder.path)).toEqual([[3], [1.5], [0.75]])
    } finally {
      await writer.close()
      execFileSync('umount', [folder.path])
    }
  })
})
