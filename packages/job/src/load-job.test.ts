import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { loadJob } from './load-job.ts'
import { openDataset } from './open-dataset.ts'

const refused = (suffix: string, message: RegExp) =>
  expect.objectContaining({ code: `SKEIN_JOB_${suffix}`, message: expect.stringMatching(message) })

const yaml = `
model: { kind: gpt2, layers: 1, width: 16, heads: 2, context: 8 }
data: ./corpus
optimizer: { lr: 3e-3 }
batch: { global: 4 }
steps: 10
`

const codeJob = `
import { defineJob, layersModel, customDataset } from '@skein/job'
const size: number = 3
export default defineJob({
  model: layersModel({ name: 'line', build: tf => tf.sequential(), loss: ({ output }) => output }),
  data: customDataset({
    numSamples: 10, numValSamples: 2, fingerprint: 'line',
    sample: (split, index) => ({ inputs: { data: Float32Array.of(index, size, 0), shape: [size] } }),
  }),
  batch: { global: 4 },
  steps: 10,
})
`

const packageUrl = new URL('./index.js', import.meta.url).href

function runModule(source: string): string {
  return execFileSync(process.execPath, ['--input-type=module', '-e', source], {
    encoding: 'utf8',
    timeout: 30_000,
  }).trim()
}

function folderWith(files: Record<string, string>) {
  const folder = temporaryFolder('job')
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(folder.path, name)
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(file, content)
  }
  return folder
}

describe('loadJob', () => {
  test('YAML: paths are relative to the job file, whatever the current folder', async () => {
    using folder = folderWith({
      'jobs/tiny.yaml': yaml,
      'jobs/corpus/a.txt': 'a '.repeat(99),
      'jobs/corpus/b.txt': 'b '.repeat(99),
    })
    const job = await loadJob('jobs/tiny.yaml', {}, { cwd: folder.path })
    expect(job).toMatchObject({
      name: 'tiny',
      optimizer: { kind: 'adamw', lr: 0.003 },
      data: { paths: [path.join(folder.path, 'jobs', 'corpus')] },
      checkpoint: { to: path.join(folder.path, 'runs') },
    })
    const dataset = await openDataset(job)
    expect(dataset.tokensPerSample).toBe(8)
    expect(dataset.batch('train', [0, 1]).arrays['targets']?.shape).toEqual([2, 8])
    expect(dataset.baseline?.(1).loss).toBeGreaterThan(0)
  })

  test('JSON is read too', async () => {
    using folder = folderWith({
      'a.json': JSON.stringify({
        model: { kind: 'gpt2', layers: 1, width: 16, heads: 2, context: 8 },
        data: 'x',
        batch: { global: 4 },
        steps: 1,
      }),
    })
    expect((await loadJob(path.join(folder.path, 'a.json'))).name).toBe('a')
  })

  test('TypeScript outside of any project: the package is found, model and data come back from the module', () => {
    using folder = folderWith({ 'line.job.ts': codeJob })
    const file = path.join(folder.path, 'line.job.ts')
    // In a process of its own: the test runner has its own way to import modules.
    const seen = runModule(`
      const { loadJob, openDataset, openLayersModel } = await import(${JSON.stringify(packageUrl)})
      const job = JSON.parse(JSON.stringify(await loadJob(${JSON.stringify(file)})))
      const { numSamples, numValSamples, tokensPerSample } = await openDataset(job)
      const { build, loss } = await openLayersModel(job)
      console.log(JSON.stringify({ job, data: [numSamples, numValSamples, tokensPerSample], code: [typeof build, typeof loss] }))`)
    expect(JSON.parse(seen)).toMatchObject({
      job: { name: 'line', model: { kind: 'layers', name: 'line' }, moduleFile: file },
      data: [10, 2, 1],
      code: ['function', 'function'],
    })
  })

  test('missing files, odd extensions, bad syntax and modules without a job are told apart', async () => {
    using folder = folderWith({
      'a.toml': '',
      'b.yaml': 'steps: [1',
      'c.mjs': 'export default 5',
      'd.mjs': "import 'nowhere-to-be-found'",
      'e.mjs': 'export default {',
    })
    const load = (name: string) => loadJob(path.join(folder.path, name))
    await expect(load('z.yaml')).rejects.toThrow(refused('NOT_FOUND', /no job file .*z\.yaml/))
    await expect(load('a.toml')).rejects.toThrow(refused('UNREADABLE', /extension "\.toml"/))
    await expect(load('b.yaml')).rejects.toThrow(refused('UNREADABLE', /b\.yaml cannot be parsed/))
    await expect(load('c.mjs')).rejects.toThrow(refused('UNREADABLE', /no default export that is a job/))
    await expect(load('d.mjs')).rejects.toThrow(refused('UNREADABLE', /nowhere-to-be-found/))
    await expect(load('e.mjs')).rejects.toThrow(refused('UNREADABLE', /e\.mjs cannot be imported/))
  })
})

test('importing the package loads neither TensorFlow nor YAML', () => {
  const seen = runModule(`
    import { registerHooks } from 'node:module'
    const loaded = []
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context) } })
    await import(${JSON.stringify(packageUrl)})
    console.log(loaded.filter(url => /tensorflow|tfjs|packages.device|yaml/.test(url)).join() || 'none of ' + (loaded.length > 10))`)
  expect(seen).toBe('none of true')
})
