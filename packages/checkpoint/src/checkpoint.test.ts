import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { findCheckpoint } from './find-checkpoint.ts'
import { openCheckpoint } from './open-checkpoint.ts'
import { openStore } from './open-store.ts'
import { assertSameModel } from './same-model.ts'
import { type CheckpointContents, saveCheckpoint } from './save-checkpoint.ts'
import { shardsOf } from './shards.ts'
import type { NamedTensor } from './tensor.ts'

const code = (suffix: string) => expect.objectContaining({ code: `SKEIN_CHECKPOINT_${suffix}` })

const tensors = (scale: number): NamedTensor[] => [
  { name: 'wte.weight', shape: [4, 3], data: Float32Array.from({ length: 12 }, (_, i) => i * scale) },
  { name: 'ln.bias', shape: [3], data: Float32Array.of(scale, -scale, 0) },
]
const zeros = () => tensors(1).map(tensor => ({ ...tensor, data: new Float32Array(tensor.data.length) }))

const contentsAt = (step: number): CheckpointContents => ({
  step,
  samplesSeen: step * 32,
  seed: 1,
  digest: '0123456789abcdef',
  generation: 1,
  dataFingerprint: 'f00d',
  job: { name: 'test', model: { kind: 'gpt2', width: 3 } },
  model: { kind: 'gpt2', layers: 1, width: 3 },
  createdBy: { skein: '0.1.0' },
  parameters: tensors(step),
  expAvg: tensors(step + 0.5),
  expAvgSq: tensors(step + 0.25),
})

const savedFolder = async (steps: number[], keep = 0) => {
  const folder = temporaryFolder('checkpoint')
  for (const step of steps) await saveCheckpoint(folder.path, contentsAt(step), { keep })
  return folder
}

describe('saving and opening', () => {
  test('everything comes back: tensors, moments and facts', async () => {
    using folder = await savedFolder([500])
    const checkpoint = await openCheckpoint(folder.path)
    expect(checkpoint.path).toBe(path.join(folder.path, 'step-00000500'))
    expect(checkpoint.manifest).toMatchObject({ format: 1, step: 500, samplesSeen: 16000, digest: '0123456789abcdef' })
    expect(checkpoint.manifest.job).toEqual(contentsAt(500).job)
    expect(await checkpoint.readParameters()).toEqual(tensors(500))
    const [parameters, expAvg, expAvgSq] = [zeros(), zeros(), zeros()]
    await checkpoint.readParametersInto(parameters)
    await checkpoint.readMomentsInto(expAvg, expAvgSq)
    expect([parameters, expAvg, expAvgSq]).toEqual([tensors(500), tensors(500.5), tensors(500.25)])
  })

  test('the latest is found, an explicit path too', async () => {
    using folder = await savedFolder([1, 2, 10])
    expect(path.basename((await findCheckpoint(folder.path)).path)).toBe('step-00000010')
    expect((await openCheckpoint(path.join(folder.path, 'step-00000002'))).manifest.step).toBe(2)
  })

  test('only the newest are kept', async () => {
    using folder = await savedFolder([1, 2, 3, 4], 2)
    expect(fs.readdirSync(folder.path).sort()).toEqual(['LATEST', 'step-00000003', 'step-00000004'])
  })

  test('after a resume from an older step those of the past that was given up go first', async () => {
    using folder = await savedFolder([2, 4, 6], 3)
    const steps = () => fs.readdirSync(folder.path).filter(name => name.startsWith('step-'))
    const resumed = (step: number, generation: number) =>
      saveCheckpoint(folder.path, { ...contentsAt(step), generation }, { keep: 3 })
    await resumed(3, 2)
    expect(steps()).toEqual(['step-00000002', 'step-00000003', 'step-00000006'])
    await resumed(5, 2)
    expect(steps()).toEqual(['step-00000002', 'step-00000003', 'step-00000005'])
    // One of an older generation, late: what the newer one has saved is not its to remove.
    await saveCheckpoint(folder.path, contentsAt(4), { keep: 1 })
    expect(steps()).toEqual(['step-00000004', 'step-00000005'])
  })

  test('the same step can be saved again', async () => {
    using folder = await savedFolder([7])
    await saveCheckpoint(folder.path, { ...contentsAt(7), digest: 'another' })
    expect((await openCheckpoint(folder.path)).manifest.digest).toBe('another')
    expect(fs.readdirSync(folder.path).sort()).toEqual(['LATEST', 'step-00000007'])
  })
})

describe('a writer that dies', () => {
  test('in the middle leaves the former checkpoint as the latest, and its remains go with the next save', async () => {
    using folder = await savedFolder([1])
    const remains = path.join(folder.path, '.writing-step-00000002')
    fs.mkdirSync(remains)
    fs.writeFileSync(path.join(remains, 'model.safetensors'), 'half')
    expect((await openCheckpoint(folder.path)).manifest.step).toBe(1)
    await saveCheckpoint(folder.path, contentsAt(2))
    expect(fs.readdirSync(folder.path).sort()).toEqual(['LATEST', 'step-00000001', 'step-00000002'])
  })

  test('between the two renames of a replacement leaves the replaced one to be put back', async () => {
    using folder = await savedFolder([1])
    fs.renameSync(path.join(folder.path, 'step-00000001'), path.join(folder.path, '.replaced-step-00000001'))
    await saveCheckpoint(folder.path, contentsAt(2))
    expect((await openCheckpoint(path.join(folder.path, 'step-00000001'))).manifest.step).toBe(1)
  })

  test('before LATEST is written leaves the newest whole one to be found', async () => {
    using folder = await savedFolder([1, 2])
    fs.rmSync(path.join(folder.path, 'LATEST'))
    expect(path.basename((await findCheckpoint(folder.path)).path)).toBe('step-00000002')
    fs.rmSync(path.join(folder.path, 'step-00000002', 'manifest.json'))
    expect(path.basename((await findCheckpoint(folder.path)).path)).toBe('step-00000001')
  })

  test('or whose disk is full when only LATEST is missing, leaves the former checkpoint alone', async () => {
    using folder = await savedFolder([1])
    const store = openStore(folder.path, {})
    const draft = await store.begin('step-00000002', 1)
    await draft.write('model.safetensors', [Buffer.of(1)])
    // There is no room for it.
    const writing = fs.readdirSync(folder.path).find(name => name.startsWith('.writing-')) ?? ''
    const latest = path.join(folder.path, writing.replace('.writing-', '.writing-LATEST-'))
    fs.mkdirSync(latest)
    await expect(draft.publish(Buffer.from('{}'))).rejects.toMatchObject({ code: 'EISDIR' })
    fs.rmdirSync(latest)
    await draft.discard()
    expect(fs.readdirSync(folder.path).sort()).toEqual(['LATEST', 'step-00000001'])
    expect(fs.readFileSync(path.join(folder.path, 'LATEST'), 'utf8')).toBe('step-00000001\n')
  })

  test('or is cancelled, leaves nothing', async () => {
    using folder = temporaryFolder('checkpoint')
    const reason = new Error('stop')
    await expect(saveCheckpoint(folder.path, contentsAt(1), { signal: AbortSignal.abort(reason) })).rejects.toThrow(
      reason,
    )
    expect(fs.readdirSync(folder.path)).toEqual([])
  })
})

describe('two writers of one step, of which one was put out and still writes', () => {
  const manifest = (generation: number) => Buffer.from(`{"generation":${generation}}`)
  const begin = async (root: string, generation: number) => {
    const draft = await openStore(root, {}).begin('step-00000002', generation)
    await draft.write('model.safetensors', [Buffer.from(`of ${generation}`)])
    return draft
  }
  const inPlace = (root: string) =>
    ['manifest.json', 'model.safetensors'].map(file => fs.readFileSync(path.join(root, 'step-00000002', file), 'utf8'))

  test('the older one publishes nothing of the newer one’s', async () => {
    using folder = await savedFolder([1])
    const older = await begin(folder.path, 1)
    const newer = await openStore(folder.path, {}).begin('step-00000002', 2)
    await expect(older.publish(manifest(1))).rejects.toMatchObject({ code: 'ENOENT' })
    await older.discard()
    expect(fs.readdirSync(folder.path)).not.toContain('step-00000002')
    await newer.write('model.safetensors', [Buffer.from('of 2')])
    await newer.publish(manifest(2))
    await newer.tidy()
    expect(inPlace(folder.path)).toEqual(['{"generation":2}', 'of 2'])
    expect(fs.readdirSync(folder.path).sort()).toEqual(['LATEST', 'step-00000001', 'step-00000002'])
  })

  test('the older one takes nothing from the newer one, and whichever is last is whole', async () => {
    using folder = await savedFolder([1])
    const newer = await begin(folder.path, 2)
    const older = await begin(folder.path, 1)
    await Promise.all([older.publish(manifest(1)), newer.publish(manifest(2))])
    const [text, model] = inPlace(folder.path)
    expect(model).toBe(text === '{"generation":1}' ? 'of 1' : 'of 2')
    for (const draft of [older, newer]) await draft.tidy()
    expect(fs.readdirSync(folder.path).sort()).toEqual(['LATEST', 'step-00000001', 'step-00000002'])
  })

  test('and what a newer one of a former run has left is gone a day later', async () => {
    using folder = await savedFolder([1])
    await begin(folder.path, 9)
    await saveCheckpoint(folder.path, contentsAt(3))
    const left = fs.readdirSync(folder.path).filter(name => name.startsWith('.'))
    expect(left).toHaveLength(1)
    const yesterday = new Date(Date.now() - 25 * 60 * 60 * 1000)
    fs.utimesSync(path.join(folder.path, left[0] ?? ''), yesterday, yesterday)
    await saveCheckpoint(folder.path, contentsAt(4))
    expect(fs.readdirSync(folder.path).filter(name => name.startsWith('.'))).toEqual([])
  })
})

test('a checkpoint that is there is not given up because an older one cannot be removed', async () => {
  using folder = await savedFolder([1, 2])
  // A file where a checkpoint's folder belongs: its manifest cannot be removed.
  fs.writeFileSync(path.join(folder.path, 'step-00000000'), '')
  const saved = await saveCheckpoint(folder.path, contentsAt(3), { keep: 1 })
  expect(saved.notTidied).toMatch(/step-00000000/u)
  expect((await openCheckpoint(folder.path)).manifest.step).toBe(3)
})

describe('looking for the newest', () => {
  const model = (folder: string, step: number) =>
    path.join(folder, `step-${String(step).padStart(8, '0')}`, 'model.safetensors')

  test('passes over what is cut short, changed or unfinished, and says which and why', async () => {
    using folder = await savedFolder([1, 2, 3, 4])
    const bytes = fs.readFileSync(model(folder.path, 2))
    bytes[bytes.length - 1] = 0xff
    fs.writeFileSync(model(folder.path, 2), bytes)
    fs.truncateSync(model(folder.path, 3), 100)
    fs.rmSync(path.join(folder.path, 'step-00000004', 'manifest.json'))
    const { path: found, manifest, skipped } = await findCheckpoint(folder.path)
    expect([path.basename(found), manifest.step]).toEqual(['step-00000001', 1])
    expect(skipped.map(one => [path.basename(one.path), one.code])).toEqual([
      ['step-00000004', 'SKEIN_CHECKPOINT_NO_MANIFEST'],
      ['step-00000003', 'SKEIN_CHECKPOINT_CUT_SHORT'],
      ['step-00000002', 'SKEIN_CHECKPOINT_CORRUPT'],
    ])
    expect(skipped[1]?.reason).toMatch(/model\.safetensors has 100 B/)
    expect((await openCheckpoint(folder.path)).manifest.step).toBe(1)
  })

  test('where none is whole says so for each', async () => {
    using folder = await savedFolder([1, 2])
    for (const step of [1, 2]) fs.truncateSync(model(folder.path, step), 50)
    const error = await findCheckpoint(folder.path).catch((thrown: unknown) => thrown)
    expect(error).toEqual(code('NONE_WHOLE'))
    expect(String(error)).toMatch(/of 2 checkpoints .* none is whole: .*step-00000002.*; .*step-00000001/)
  })
})

describe('shards', () => {
  test('are as few as the size allows, cut no tensor, and are read as one', async () => {
    using folder = temporaryFolder('checkpoint')
    const { path: saved } = await saveCheckpoint(folder.path, contentsAt(5), { shardBytes: 40 })
    const files = fs.readdirSync(saved).sort()
    expect(files).toEqual([
      'manifest.json',
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      ...[1, 2, 3, 4].map(i => `optimizer-0000${i}-of-00004.safetensors`),
    ])
    const checkpoint = await openCheckpoint(folder.path)
    expect(await checkpoint.readParameters()).toEqual(tensors(5))
    const [parameters, expAvg, expAvgSq] = [zeros(), zeros(), zeros()]
    await checkpoint.readParametersInto(parameters)
    await checkpoint.readMomentsInto(expAvg, expAvgSq)
    expect([parameters, expAvg, expAvgSq]).toEqual([tensors(5), tensors(5.5), tensors(5.25)])
    fs.rmSync(path.join(saved, 'optimizer-00003-of-00004.safetensors'))
    await expect(openCheckpoint(folder.path)).rejects.toThrow(code('NONE_WHOLE'))
  })

  test('are one where everything fits, to the last byte', () => {
    const shards = (bytes: number) => shardsOf('model', tensors(1), bytes).map(shard => shard.name)
    expect(shards(60)).toEqual(['model.safetensors'])
    expect(shards(59)).toEqual(['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'])
    expect(shardsOf('model', [], 1)).toEqual([{ name: 'model.safetensors', tensors: [] }])
  })
})

describe('damage', () => {
  const damaged = async (change: (folder: string) => void) => {
    using folder = await savedFolder([3])
    change(path.join(folder.path, 'step-00000003'))
    return await openCheckpoint(path.join(folder.path, 'step-00000003')).then(
      () => 'opened',
      (error: unknown) => error,
    )
  }

  test('a file cut short is named with both lengths', async () => {
    const error = await damaged(folder => {
      const file = path.join(folder, 'optimizer.safetensors')
      fs.truncateSync(file, fs.statSync(file).size - 4)
    })
    expect(error).toEqual(code('CUT_SHORT'))
    expect(String(error)).toMatch(/optimizer\.safetensors has \d+ B, its manifest says \d+ B/)
  })

  test.each([0, 1, 2, 3])('a flipped bit is noticed (place %i)', async place => {
    const error = await damaged(folder => {
      const file = path.join(folder, 'model.safetensors')
      const bytes = fs.readFileSync(file)
      const at = Math.floor(((bytes.length - 1) * place) / 3)
      bytes[at] = (bytes[at] as number) ^ 1
      fs.writeFileSync(file, bytes)
    })
    expect(error).toEqual(code('CORRUPT'))
  })

  test('a missing file and a missing manifest are told apart', async () => {
    expect(await damaged(folder => fs.rmSync(path.join(folder, 'model.safetensors')))).toEqual(code('CUT_SHORT'))
    expect(await damaged(folder => fs.rmSync(path.join(folder, 'manifest.json')))).toEqual(code('NO_MANIFEST'))
  })

  test('another format, no JSON and missing fields are refused', async () => {
    const withManifest = (change: (manifest: Record<string, unknown>) => unknown) =>
      damaged(folder => {
        const file = path.join(folder, 'manifest.json')
        const manifest = change(JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>)
        fs.writeFileSync(file, typeof manifest === 'string' ? manifest : JSON.stringify(manifest))
      })
    const other = await withManifest(manifest => ({ ...manifest, format: 2 }))
    expect(other).toEqual(code('FORMAT'))
    expect(String(other)).toMatch(/format 2, this version of Skein reads format 1/)
    expect(await withManifest(() => '{"format":')).toEqual(code('FORMAT'))
    expect(await withManifest(manifest => ({ ...manifest, step: 'three' }))).toEqual(code('FORMAT'))
    // A manifest from elsewhere cannot point out of its folder.
    const outside = [{ name: '../../etc/passwd', bytes: 1, sha256: '0'.repeat(64) }]
    expect(await withManifest(manifest => ({ ...manifest, files: outside }))).toEqual(code('FORMAT'))
  })

  test('no checkpoint at all says so', async () => {
    using folder = temporaryFolder('checkpoint')
    await expect(openCheckpoint(folder.path)).rejects.toThrow(code('NOT_FOUND'))
    await expect(openCheckpoint(path.join(folder.path, 'nowhere'))).rejects.toThrow(code('NOT_FOUND'))
  })

  test('a folder that cannot be written is named', async () => {
    using folder = temporaryFolder('checkpoint')
    const file = path.join(folder.path, 'file')
    fs.writeFileSync(file, '')
    await expect(saveCheckpoint(path.join(file, 'runs'), contentsAt(1))).rejects.toThrow(code('WRITE'))
  })
})

describe('assertSameModel', () => {
  const model = { kind: 'gpt2', layers: 4, width: 256 }

  test('the order of keys does not matter', () => {
    expect(() => assertSameModel('p', model, { width: 256, layers: 4, kind: 'gpt2' })).not.toThrow()
  })

  test('every field that differs is named with both values', () => {
    expect(() => assertSameModel('p', model, { kind: 'gpt2', layers: 6, width: 256, heads: 8 })).toThrow(
      expect.objectContaining({
        code: 'SKEIN_CHECKPOINT_OTHER_MODEL',
        message: expect.stringMatching(
          /model\.layers is 4 in the checkpoint and 6 in the job; model\.heads is not set in the checkpoint and 8 in the job/,
        ),
      }),
    )
  })

  test('tensors of another model are refused when read', async () => {
    using folder = await savedFolder([1])
    const checkpoint = await openCheckpoint(folder.path)
    const wider = [{ name: 'wte.weight', shape: [4, 4], data: new Float32Array(16) }]
    await expect(checkpoint.readParametersInto(wider)).rejects.toThrow(/has wte\.weight as 4×3, wanted is 4×4/)
  })
})
