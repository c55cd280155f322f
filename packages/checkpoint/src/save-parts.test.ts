import fs from 'node:fs'
import path from 'node:path'
import { combinedDigest } from '@skein/core'
import { startS3Server, temporaryFolder } from '@skein/testkit'
import { afterAll, describe, expect, test } from 'vitest'
import { findCheckpoint } from './find-checkpoint.ts'
import { openCheckpoint } from './open-checkpoint.ts'
import { openStore } from './open-store.ts'
import { type CheckpointContents, saveCheckpoint } from './save-checkpoint.ts'
import { discardParts, publishParts, savePart } from './save-parts.ts'
import type { NamedTensor } from './tensor.ts'

const server = await startS3Server()
afterAll(() => server?.[Symbol.asyncDispose]())

const code = (suffix: string) => expect.objectContaining({ code: `SKEIN_CHECKPOINT_${suffix}` })
const names = ['a', 'b', 'c', 'd']
const tensor = (name: string, scale: number): NamedTensor => ({
  name,
  shape: [100],
  data: Float32Array.from({ length: 100 }, (_, i) => i * scale + name.charCodeAt(0)),
})
const tensors = (scale: number, of = names) => of.map(name => tensor(name, scale))

const contents = (step: number, of = names, generation = 1): CheckpointContents => ({
  step,
  samplesSeen: step,
  seed: 1,
  digest: `digest of ${of.join()}`,
  generation,
  job: {},
  model: {},
  createdBy: {},
  parameters: tensors(step, of),
  expAvg: tensors(step + 0.5, of),
  expAvgSq: tensors(step + 0.25, of),
})
/** Cut in two parts, of which each has two tensors. */
const ownOf = (part: number) => names.slice(2 * part, 2 * part + 2)

describe.each([
  { kind: 'a folder', isMissing: false },
  { kind: 'S3', isMissing: server === undefined },
])('the checkpoint of a model that is cut, in $kind', ({ kind, isMissing }) => {
  const environment: Readonly<Record<string, string>> = server?.environment ?? {}
  let numPlaces = 0
  const placed = async (run: (root: string) => Promise<void>) => {
    using folder = temporaryFolder('parts')
    await run(kind === 'S3' ? (server?.location(`parts-${numPlaces++}`) ?? '') : folder.path)
  }
  const save = (root: string, step: number, part: number, generation = 1, more = {}) =>
    savePart(
      root,
      contents(step, ownOf(part), generation),
      { part, parts: 2 },
      { environment, shardBytes: 400, ...more },
    )
  const publish = (root: string, step: number, generation = 1, keep = 0) =>
    publishParts(root, { step, parts: 2, generation }, { environment, keep })

  describe.skipIf(isMissing)('', () => {
    test('is there when all parts are and it is published, with every tensor of each', () =>
      placed(async root => {
        await Promise.all([save(root, 7, 1), save(root, 7, 0)])
        // A manifest is what makes a checkpoint: there is none.
        await expect(findCheckpoint(root, { environment })).rejects.toThrow(
          expect.objectContaining({ code: expect.stringMatching(/NOT_FOUND|NO_MANIFEST/) }),
        )
        await publish(root, 7)
        await using checkpoint = await openCheckpoint(root, { environment })
        expect(checkpoint.manifest).toMatchObject({
          step: 7,
          parts: 2,
          digest: combinedDigest(['digest of a,b', 'digest of c,d']),
        })
        const read = await checkpoint.readParameters()
        expect(read.toSorted((a, b) => (a.name < b.name ? -1 : 1))).toEqual(tensors(7))
        // A part of another mesh takes what is its own, by name.
        const [expAvg, expAvgSq] = [tensors(0, ['b', 'c']), tensors(0, ['b', 'c'])]
        await checkpoint.readMomentsInto(expAvg, expAvgSq)
        expect([expAvg, expAvgSq]).toEqual([tensors(7.5, ['b', 'c']), tensors(7.25, ['b', 'c'])])
        const files = checkpoint.manifest.files.map(file => file.name)
        expect(files).toHaveLength(12)
        expect(files[0]).toBe('model-part-1-of-2-g1-00001-of-00002.safetensors')
      }))

    test('is published only where all files of all parts are to be seen, and leaves nothing else', () =>
      placed(async root => {
        await save(root, 7, 0)
        await expect(publish(root, 7)).rejects.toThrow(code('PART_MISSING'))
        await save(root, 7, 0)
        await save(root, 7, 1, 1)
        await expect(publish(root, 7, 2), 'those of another generation').rejects.toThrow(code('PART_MISSING'))
        await save(root, 8, 0)
        await save(root, 8, 1)
        await publish(root, 8)
        expect(await openStore(root, environment).names()).toEqual(['step-00000008'])
        if (kind === 'a folder') expect(fs.readdirSync(root).sort()).toEqual(['LATEST', 'step-00000008'])
      }))

    test('of a step that was saved before replaces it, and what was given up in between is in nobody’s way', () =>
      placed(async root => {
        await save(root, 7, 0)
        await save(root, 7, 1)
        await publish(root, 7)
        // The generation ended when one part was written.
        await save(root, 7, 1, 2)
        for (const part of [0, 1]) await save(root, 7, part, 3)
        expect((await findCheckpoint(root, { environment })).manifest.generation).toBe(1)
        await publish(root, 7, 3)
        await using checkpoint = await openCheckpoint(root, { environment })
        expect(checkpoint.manifest.generation).toBe(3)
        const inPlace = openStore(root, environment).folderOf('step-00000007')
        if (inPlace !== undefined) {
          const files = ['manifest.json', ...checkpoint.manifest.files.map(file => file.name)]
          expect(fs.readdirSync(inPlace).sort()).toEqual(files.sort())
        }
      }))

    test('is untouched by what an older generation still does: publishing, or giving up', () =>
      placed(async root => {
        for (const generation of [1, 2]) for (const part of [0, 1]) await save(root, 7, part, generation)
        await save(root, 8, 0, 2)
        await discardParts(root, { step: 8, generation: 1 }, { environment })
        await publish(root, 7, 1)
        expect((await findCheckpoint(root, { environment })).manifest.generation).toBe(1)
        await publish(root, 7, 2)
        expect((await findCheckpoint(root, { environment })).manifest.generation).toBe(2)
        await save(root, 8, 1, 2)
        await save(root, 9, 0, 2)
        await save(root, 8, 0, 1)
        await expect(publish(root, 8, 1)).rejects.toThrow(code('PART_MISSING'))
        await publish(root, 8, 2)
        await save(root, 9, 1, 2)
        await publish(root, 9, 2)
        expect((await findCheckpoint(root, { environment })).manifest).toMatchObject({ step: 9, generation: 2 })
        if (kind === 'a folder') expect(fs.readdirSync(root).filter(name => name.startsWith('.'))).toEqual([])
      }))

    test('is found among whole ones, of which the oldest go', () =>
      placed(async root => {
        await saveCheckpoint(root, contents(1), { environment })
        for (const step of [2, 3]) {
          await Promise.all([save(root, step, 0), save(root, step, 1)])
          await publish(root, step, 1, 2)
        }
        expect(await openStore(root, environment).names()).toEqual(['step-00000003', 'step-00000002'])
        await saveCheckpoint(root, contents(4), { environment, keep: 1 })
        expect((await findCheckpoint(root, { environment })).manifest.parts).toBeUndefined()
      }))

    test('goes where it will not come about, and the one before stays', () =>
      placed(async root => {
        for (const part of [0, 1]) await save(root, 7, part)
        await publish(root, 7)
        await save(root, 7, 0, 2)
        await save(root, 8, 0)
        await discardParts(root, { step: 7, generation: 2 }, { environment })
        await discardParts(root, { step: 8, generation: 1 }, { environment })
        expect((await openCheckpoint(root, { environment })).manifest.step).toBe(7)
        if (kind === 'a folder') expect(fs.readdirSync(root).sort()).toEqual(['LATEST', 'step-00000007'])
        await expect(publish(root, 8)).rejects.toThrow(code('PART_MISSING'))
      }))
  })
})

test('a part that cannot be written takes away what it wrote, not what others did', async () => {
  using folder = temporaryFolder('parts')
  const root = folder.path
  await savePart(root, contents(7, ownOf(0)), { part: 0, parts: 2 }, {})
  const draft = path.join(root, '.writing-step-00000007-g1')
  const before = fs.readdirSync(draft)
  // A folder where the last of its files belongs.
  fs.mkdirSync(path.join(draft, 'manifest-part-2-of-2-g1.json'))
  await expect(savePart(root, contents(7, ownOf(1)), { part: 1, parts: 2 }, {})).rejects.toThrow(code('WRITE'))
  fs.rmSync(path.join(draft, 'manifest-part-2-of-2-g1.json'), { recursive: true })
  expect(fs.readdirSync(draft)).toEqual(before)
})
