import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import type { TextDataset } from '@skein/data'
import { loadJob, openDataset } from '@skein/job'
import { describe, expect, test } from 'vitest'
import { drawDigit, imageSize, numDigits } from './digits.ts'

const example = (name: string) => loadJob(path.join(import.meta.dirname, '..', name))

describe('gpt.job.ts', () => {
  test('is the job that npm start promises', async () => {
    const job = await example('gpt.job.ts')
    expect(job).toMatchObject({
      name: 'gpt',
      model: { kind: 'gpt2', layers: 4, width: 256, heads: 8, context: 128, vocab: 256 },
      batch: { global: 32, micro: 8 },
      mesh: { dp: 4 },
    })
    expect(job.moduleFile).toBeUndefined()
  })

  test('has megabytes of text, and holds out several documents that nearly repeat no other', async () => {
    const dataset = (await openDataset(await example('gpt.job.ts'))) as TextDataset
    const { details } = dataset.describe()
    expect(details['trainBytes']).toBeGreaterThan(3e6)
    expect(details['valDocuments']).toBeGreaterThan(3)
    expect(dataset.numValSamples).toBeGreaterThan(256)
    expect((details['valBytes'] as number) / (details['trainBytes'] as number)).toBeLessThan(0.15)
    // A byte bigram on English doc comments and code: between the entropy of text and that of unigrams.
    const baseline = dataset.baseline(256)
    expect(baseline.loss).toBeGreaterThan(2)
    expect(baseline.loss).toBeLessThan(3)
  })

  test('one, two, four and eight workers divide its batch', async () => {
    const file = path.join(import.meta.dirname, '..', 'gpt.job.ts')
    for (const workers of [1, 2, 4, 8]) expect((await loadJob(file, { workers })).mesh.dp).toBe(workers)
  })
})

test.each(['gpt-tiny.job.ts', 'gpt-tiny.job.yaml'])('%s finds its text', async name => {
  const job = await example(name)
  expect(job).toMatchObject({ model: { layers: 2, width: 64 }, batch: { global: 16, micro: 8 } })
  const dataset = await openDataset(job)
  expect(dataset.numSamples).toBeGreaterThan(1000)
  expect(dataset.batch('train', [0]).arrays['inputs']?.shape).toEqual([1, 64])
})

describe('convnet.job.ts', () => {
  test('has a model and data of its own', async () => {
    const job = await example('convnet.job.ts')
    expect(job).toMatchObject({ model: { kind: 'layers', name: 'digits' }, data: { kind: 'custom' } })
    const { arrays } = (await openDataset(job)).batch('train', [0, 1, 2])
    expect(arrays['inputs']?.shape).toEqual([3, imageSize, imageSize, 1])
    expect(arrays['labels']).toMatchObject({ shape: [3], data: expect.any(Int32Array) })
  })

  test('a digit is a function of its number, and all ten come up', () => {
    expect(drawDigit(1, 5)).toEqual(drawDigit(1, 5))
    expect(drawDigit(1, 5).image).not.toEqual(drawDigit(2, 5).image)
    const drawn = new Set(Array.from({ length: 200 }, (_, i) => drawDigit(1, i).digit))
    expect(drawn.size).toBe(numDigits)
  })
})

test('two processes sum an array, and no TensorFlow is loaded', async () => {
  const file = path.join(import.meta.dirname, 'all-reduce.js')
  const run = async (rank: number) => {
    const child = spawn(process.execPath, [file, String(rank)], {
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 30_000,
    })
    let [text, maps] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      maps = fs.readFileSync(`/proc/${child.pid}/maps`, 'utf8')
    })
    await new Promise(resolve => child.once('close', resolve))
    return { text, maps }
  }
  for (const [rank, { text, maps }] of (await Promise.all([run(0), run(1)])).entries()) {
    expect(text).toBe(`rank ${rank}: 3 3 3 3\n`)
    expect(maps).toContain('node')
    expect(maps).not.toMatch(/tensorflow|tfjs/)
  }
})
