import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { adamw, everyStep, gpt2, textFolder } from './helpers.ts'
import type { JobInput } from './job-types.ts'
import { layersModel } from './layers-model.ts'
import { lrAt } from './learning-rate.ts'
import type { JobOverrides } from './overrides.ts'
import { parseResolvedJob, resolveJob } from './resolve-job.ts'

useTestSeed()

const base: JobInput = {
  model: gpt2({ layers: 4, width: 256, heads: 8, context: 128 }),
  data: textFolder('./corpus'),
  batch: { global: 32 },
  steps: 500,
}
const resolve = (value: unknown, overrides: JobOverrides = {}) =>
  resolveJob(value, { jobFile: '/jobs/my run.job.ts', cwd: '/here', overrides })
const refused = (suffix: string, message: RegExp) =>
  expect.objectContaining({ code: `SKEIN_JOB_${suffix}`, message: expect.stringMatching(message) })

describe('defaults', () => {
  test('a short job gets every value, and says where each is from', () => {
    const job = resolve(base, { lr: 0.01 })
    expect(job).toMatchObject({
      name: 'my-run',
      model: { kind: 'gpt2', vocab: 256 },
      data: { kind: 'text', paths: ['/jobs/corpus'], heldOut: 0.05, splitSeed: 0, context: 128 },
      optimizer: { lr: 0.01, betas: [0.9, 0.95], warmupSteps: 25, minLr: 0.001, schedule: 'cosine', clipNorm: 1 },
      sync: { kind: 'every-step' },
      batch: { global: 32, micro: 8 },
      mesh: { dp: 1, pp: 1 },
      eval: { every: 50, samples: 256 },
      checkpoint: { every: 100, to: '/here/runs', keep: 3 },
      seed: 1,
      precision: 'f32',
    })
    expect(job.sources).toMatchObject({
      steps: 'job',
      'model.layers': 'job',
      'model.vocab': 'default',
      'optimizer.lr': 'flag',
      'optimizer.eps': 'default',
      'data.paths': 'job',
      'mesh.dp': 'default',
    })
    expect(job.moduleFile).toBeUndefined()
    expect(job).not.toHaveProperty('schedule')
  })

  test('the microbatch is what divides a share of the batch, at most 8', () => {
    const micro = (global: number, dp: number) => resolve({ ...base, batch: { global }, mesh: { dp } }).batch.micro
    expect([micro(32, 4), micro(32, 8), micro(12, 1), micro(14, 2), micro(22, 1)]).toEqual([8, 4, 6, 7, 2])
  })

  test('a resolved job survives JSON, and resolves to itself', () => {
    const job = resolve({ ...base, elastic: { min: 1, max: 4 } }, { workers: 2 })
    expect(parseResolvedJob(JSON.parse(JSON.stringify(job)))).toEqual(job)
  })

  test('a value that is not a resolved job is refused', () => {
    expect(() => parseResolvedJob({ ...resolve(base), steps: -1 })).toThrow(refused('INVALID', /`steps` = -1/))
    expect(() => parseResolvedJob(base)).toThrow(refused('INVALID', /jobFile/))
  })

  test('a job with functions keeps none of them, and names its module', () => {
    const model = layersModel({
      name: 'mine',
      build: tf => tf.sequential(),
      loss: ({ output }) => output,
    })
    const job = resolve({ ...base, model, data: { kind: 'custom', open: () => undefined } })
    expect(job.model).toEqual({ kind: 'layers', name: 'mine' })
    expect(job.data).toEqual({ kind: 'custom' })
    expect(job.moduleFile).toBe('/jobs/my run.job.ts')
    expect(parseResolvedJob(JSON.parse(JSON.stringify(job)))).toEqual(job)
  })
})

describe('overrides', () => {
  test('win over the job, and keep its split', () => {
    const job = resolve(
      { ...base, data: textFolder('./a', { include: ['*.md'], heldOut: 0.2, splitSeed: 7 }), mesh: { dp: 4 } },
      { steps: 20, workers: 2, data: 'texts', seed: 5, checkpointTo: 'out', precision: 'bf16', name: 'other' },
    )
    expect(job).toMatchObject({
      name: 'other',
      steps: 20,
      seed: 5,
      precision: 'bf16',
      mesh: { dp: 2 },
      data: { kind: 'text', paths: ['/here/texts'], include: ['**'], heldOut: 0.2, splitSeed: 7 },
      checkpoint: { to: '/here/out' },
    })
    expect(job.sources).toMatchObject({ steps: 'flag', 'mesh.dp': 'flag', 'data.paths': 'flag', 'data.heldOut': 'job' })
  })

  test('data that ends in .jsonl is JSONL', () => {
    expect(resolve(base, { data: 'a.jsonl' }).data).toMatchObject({ kind: 'jsonl', paths: ['/here/a.jsonl'] })
  })

  test('fewer steps than the interval of the job are no conflict', () => {
    expect(resolve({ ...base, eval: { every: 50 } }, { steps: 20 })).toMatchObject({ steps: 20, eval: { every: 50 } })
  })

  test('text cannot be given to a model of the job itself', () => {
    const model = layersModel({ build: tf => tf.sequential(), loss: ({ output }) => output })
    const data = { kind: 'custom', open: () => undefined }
    expect(() => resolve({ ...base, model, data }, { data: 'x' })).toThrow(refused('CONFLICT', /--data x .*"layers"/))
  })
})

describe('refusals', () => {
  test.each<[unknown, RegExp]>([
    [{ ...base, stepz: 5 }, /unknown key `stepz` \(did you mean `steps`\?\)/],
    [{ ...base, lr: 1 }, /`lr` \(did you mean `optimizer\.lr`\?\)/],
    [{ ...base, model: { ...base.model, layrs: 4 } }, /unknown key in `model`: `layrs` \(did you mean `layers`\?\)/],
    [{ ...base, checkpoint: { evry: 5 } }, /in `checkpoint`: `evry` \(did you mean `every`\?\)/],
    [{ ...base, optimizer: { lr: 1, momentum: 0.9 } }, /in `optimizer`: `momentum` \(known here: kind, lr, betas/],
  ])('an unknown key is named with the nearest known one (%#)', (value, message) => {
    expect(() => resolve(value)).toThrow(refused('UNKNOWN_KEY', message))
  })

  test.each<[unknown, RegExp]>([
    [{ ...base, steps: 0 }, /`steps` = 0 must be at least 1/],
    [{ ...base, steps: 2.5 }, /`steps` = 2\.5 must be a whole number/],
    [{ ...base, steps: '5' }, /`steps` = "5" must be of type number/],
    [{ ...base, optimizer: adamw({ lr: -1 }) }, /`optimizer\.lr` = -1 must be more than 0/],
    [{ ...base, precision: 'fp16' }, /`precision` = "fp16" must be one of "f32", "bf16"/],
    [{ ...base, model: { kind: 'gtp2' } }, /`model` = \{"kind":"gtp2"\} must have a `kind` .* did you mean "gpt2"/],
    [{ ...base, model: { kind: 'layers' } }, /`model\.build` must be a function .* TypeScript or JavaScript/],
    [{ ...base, name: '../x' }, /`name` = "\.\.\/x"/],
    [{ model: base.model, steps: 5 }, /`data` is missing; `batch` is missing/],
    [null, /null must be of type object/],
    [{ ...base, optimizer: { betas: [0.9] } }, /`optimizer\.betas` = \[0\.9\] must have at least 2 entries/],
  ])('a bad value is named with its path and range (%#)', (value, message) => {
    expect(() => resolve(value)).toThrow(refused('INVALID', message))
  })

  test.each<[unknown, JobOverrides, RegExp]>([
    [
      { ...base, batch: { global: 32, micro: 8 } },
      { workers: 8 },
      /batch\.global 32 .* mesh\.dp \(--workers\) 8 × batch\.micro 8 = 64/,
    ],
    [{ ...base, mesh: { dp: 3 } }, {}, /batch\.global 32 is not divisible by mesh\.dp 3/],
    [{ ...base, model: { ...base.model, heads: 7 } }, {}, /model\.width 256 is not divisible by model\.heads 7/],
    [{ ...base, eval: { every: 501 } }, {}, /eval\.every 501 is above steps 500/],
    [{ ...base, checkpoint: { every: 501 } }, {}, /checkpoint\.every 501 is above steps 500/],
    [{ ...base, optimizer: adamw({ warmupSteps: 500 }) }, {}, /optimizer\.warmupSteps 500 is not below steps 500/],
    [
      { ...base, optimizer: adamw({ lr: 1e-3, minLr: 1e-2 }) },
      {},
      /optimizer\.minLr 0\.01 is above optimizer\.lr 0\.001/,
    ],
    [{ ...base, elastic: { min: 2, max: 4 } }, {}, /mesh\.dp 1 is outside elastic\.min 2 … elastic\.max 4/],
    [{ ...base, elastic: { min: 4, max: 2 } }, {}, /elastic\.min 4 is above elastic\.max 2/],
    [{ ...base, data: textFolder('a', { context: 64 }) }, {}, /data\.context 64 is not model\.context 128/],
  ])('values that do not go together are both named (%#)', (value, overrides, message) => {
    expect(() => resolve(value, overrides)).toThrow(refused('CONFLICT', message))
  })

  test('the advice of a batch conflict works', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 64 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 9 }),
        (global, dp, micro) => {
          try {
            resolve({ ...base, batch: { global, micro }, mesh: { dp } })
            expect(global % (dp * micro)).toBe(0)
          } catch (error) {
            const { todo } = error as { todo: string }
            const advised = (pattern: RegExp, otherwise: number) => Number(pattern.exec(todo)?.[1] ?? otherwise)
            const better = { global: advised(/batch\.global (\d+)/, 0), micro }
            expect(resolve({ ...base, batch: better, mesh: { dp } }).batch).toMatchObject(better)
            const smaller = { global, micro: advised(/batch\.micro (\d+)/, 1) }
            if (global % dp === 0)
              expect(resolve({ ...base, batch: smaller, mesh: { dp } }).batch).toMatchObject(smaller)
          }
        },
      ),
    )
  })
})

describe('lrAt', () => {
  const at = (step: number, optimizer = {}) =>
    lrAt(resolve({ ...base, sync: everyStep(), optimizer: adamw({ lr: 1, warmupSteps: 10, ...optimizer }) }), step)

  test('rises in a line, is at its peak after the warm-up, and falls to near minLr', () => {
    expect(at(1)).toBeCloseTo(1 / 11)
    expect(at(10)).toBeCloseTo(10 / 11)
    expect(at(11)).toBe(1)
    expect(at(11 + 245)).toBeCloseTo(0.55)
    expect(at(500)).toBeGreaterThan(0.1)
    expect(at(500)).toBeCloseTo(0.1, 4)
    expect(at(501)).toBeCloseTo(0.1, 10)
  })

  test('never leaves [0, lr], and falls only', () => {
    for (let step = 11; step < 500; step++) expect(at(step + 1)).toBeLessThan(at(step))
  })

  test('a constant schedule stays at its peak', () => {
    expect(at(5, { schedule: 'constant' })).toBeLessThan(1)
    expect([at(11, { schedule: 'constant' }), at(500, { schedule: 'constant' })]).toEqual([1, 1])
  })
})
