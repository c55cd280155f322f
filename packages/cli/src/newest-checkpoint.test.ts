import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { CliErrors } from './errors.ts'
import { checkpointsBelow, folderOfCheckpoints, newestCheckpoint } from './newest-checkpoint.ts'

function write(root: string, name: string, atSeconds: number, finished = true): string {
  const folder = path.join(root, name)
  fs.mkdirSync(folder, { recursive: true })
  const manifest = path.join(folder, 'manifest.json')
  if (finished) {
    fs.writeFileSync(manifest, '{}')
    fs.utimesSync(manifest, atSeconds, atSeconds)
  }
  return folder
}

describe('--resume without a path', () => {
  it('takes the newest finished checkpoint of any run of the job', () => {
    using root = temporaryFolder('resume')
    write(root.path, 'gpt-1/checkpoints/step-00000100', 100)
    const newest = write(root.path, 'gpt-2/checkpoints/step-00000050', 300)
    write(root.path, 'gpt-1/checkpoints/step-00000200', 200)
    write(root.path, 'gpt-2/checkpoints/step-00000060', 400, false)
    expect(newestCheckpoint(root.path, 'gpt')).toBe(newest)
    expect(checkpointsBelow(root.path)).toHaveLength(3)
  })

  it('prefers the runs of this job to those of others', () => {
    using root = temporaryFolder('resume')
    const own = write(root.path, 'gpt-1/checkpoints/step-00000100', 100)
    const other = write(root.path, 'mnist-1/checkpoints/step-00000100', 200)
    expect(newestCheckpoint(root.path, 'gpt')).toBe(own)
    expect(newestCheckpoint(root.path, 'llama')).toBe(other)
  })

  it('lets the step decide between checkpoints of one moment', () => {
    using root = temporaryFolder('resume')
    write(root.path, 'gpt-1/checkpoints/step-00000100', 100)
    const later = write(root.path, 'gpt-1/checkpoints/step-00000200', 100)
    expect(newestCheckpoint(root.path, 'gpt')).toBe(later)
  })

  it('says so when there is none, or no such folder', () => {
    using root = temporaryFolder('resume')
    for (const folder of [root.path, path.join(root.path, 'nowhere')]) {
      expect(() => newestCheckpoint(folder, 'gpt')).toThrow(
        expect.objectContaining({ code: CliErrors.NOTHING_TO_RESUME.code }) as Error,
      )
    }
  })
})

describe('a path that a user gives', () => {
  it('may be a checkpoint, the folder that holds them, a run or a folder of runs', () => {
    using root = temporaryFolder('given')
    const step = write(root.path, 'gpt-1/checkpoints/step-00000100', 100)
    const unfinished = write(root.path, 'gpt-1/checkpoints/step-00000200', 200, false)
    const checkpoints = path.dirname(step)
    expect(folderOfCheckpoints(step)).toBe(step)
    expect(folderOfCheckpoints(unfinished)).toBe(unfinished)
    expect(folderOfCheckpoints(checkpoints)).toBe(checkpoints)
    expect(folderOfCheckpoints(path.join(root.path, 'gpt-1'))).toBe(step)
    expect(folderOfCheckpoints(root.path)).toBe(step)
    expect(folderOfCheckpoints(path.join(root.path, 'nowhere'))).toBeUndefined()
  })
})
