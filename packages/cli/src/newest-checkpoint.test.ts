import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { CliErrors } from './errors.ts'
import { checkpointsBelow, findBelow, newestCheckpoint } from './newest-checkpoint.ts'

/** Whole as it is: it names no files. */
const manifestOfNothing = {
  format: 1,
  step: 1,
  samplesSeen: 0,
  seed: 1,
  digest: 'd',
  generation: 1,
  job: {},
  model: {},
  createdBy: {},
  files: [],
}

function write(root: string, name: string, atSeconds: number, finished = true): string {
  const folder = path.join(root, name)
  fs.mkdirSync(folder, { recursive: true })
  const manifest = path.join(folder, 'manifest.json')
  if (finished) {
    fs.writeFileSync(manifest, JSON.stringify(manifestOfNothing))
    fs.utimesSync(manifest, atSeconds, atSeconds)
  }
  return folder
}

describe('--resume without a path', () => {
  it('takes the newest whole checkpoint of any run of the job, and says what it passed over', async () => {
    using root = temporaryFolder('resume')
    write(root.path, 'gpt-1/checkpoints/step-00000100', 100)
    const newest = write(root.path, 'gpt-2/checkpoints/step-00000050', 300)
    write(root.path, 'gpt-1/checkpoints/step-00000200', 200)
    const unfinished = write(root.path, 'gpt-2/checkpoints/step-00000060', 400, false)
    const { path: found, skipped } = await newestCheckpoint({ to: root.path }, 'gpt')
    expect(found).toBe(newest)
    expect(skipped).toMatchObject([{ path: unfinished, code: 'SKEIN_CHECKPOINT_NO_MANIFEST' }])
    expect(checkpointsBelow(root.path)).toHaveLength(4)
  })

  it('prefers the runs of this job to those of others', async () => {
    using root = temporaryFolder('resume')
    const own = write(root.path, 'gpt-1/checkpoints/step-00000100', 100)
    const other = write(root.path, 'mnist-1/checkpoints/step-00000100', 200)
    expect((await newestCheckpoint({ to: root.path }, 'gpt')).path).toBe(own)
    expect((await newestCheckpoint({ to: root.path }, 'llama')).path).toBe(other)
    write(root.path, 'gpt-tiny-20261128-120000/checkpoints/step-00000100', 300)
    const dated = write(root.path, 'gpt-20261128-110000/checkpoints/step-00000100', 150)
    expect((await newestCheckpoint({ to: root.path }, 'gpt')).path).toBe(dated)
  })

  it('lets the step decide between checkpoints of one moment', async () => {
    using root = temporaryFolder('resume')
    write(root.path, 'gpt-1/checkpoints/step-00000100', 100)
    const later = write(root.path, 'gpt-1/checkpoints/step-00000200', 100)
    expect((await newestCheckpoint({ to: root.path }, 'gpt')).path).toBe(later)
  })

  it('says so when there is none, or no such folder', async () => {
    using root = temporaryFolder('resume')
    for (const folder of [root.path, path.join(root.path, 'nowhere')]) {
      await expect(newestCheckpoint({ to: folder }, 'gpt')).rejects.toMatchObject({
        code: CliErrors.NOTHING_TO_RESUME.code,
      })
    }
  })
})

describe('a path that a user gives', () => {
  it('may be a checkpoint, the folder that holds them, a run or a folder of runs', async () => {
    using root = temporaryFolder('given')
    const step = write(root.path, 'gpt-1/checkpoints/step-00000100', 100)
    const unfinished = write(root.path, 'gpt-1/checkpoints/step-00000200', 200, false)
    for (const given of [step, path.dirname(step), path.join(root.path, 'gpt-1'), root.path]) {
      expect((await findBelow(given)).path).toBe(step)
    }
    await expect(findBelow(unfinished)).rejects.toMatchObject({ code: 'SKEIN_CHECKPOINT_NO_MANIFEST' })
    await expect(findBelow(path.join(root.path, 'nowhere'))).rejects.toMatchObject({
      code: 'SKEIN_CHECKPOINT_NOT_FOUND',
    })
  })
})
