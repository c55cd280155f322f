import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder, useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { findCheckpoint } from './find-checkpoint.ts'
import type { Manifest } from './manifest.ts'
import { type Checkpoint, openCheckpoint } from './open-checkpoint.ts'
import { assertAllRows, rowsOf } from './rows.ts'
import { type CheckpointContents, saveCheckpoint } from './save-checkpoint.ts'
import { publishParts, savePart } from './save-parts.ts'
import type { NamedTensor, TensorRows } from './tensor.ts'
import { writeSafetensors } from './write-safetensors.ts'

useTestSeed()

const code = (suffix: string) => expect.objectContaining({ code: `SKEIN_CHECKPOINT_${suffix}` })
const [numRows, width] = [7, 3]
const cutName = 'wte.weight'

/** Rows [start, start+size), each element telling its row. */
const rows = (start: number, size: number, scale: number, of: number | undefined = numRows): NamedTensor => ({
  name: cutName,
  shape: [size, width],
  data: Float32Array.from({ length: size * width }, (_, i) => (start * width + i) * scale),
  ...(of === undefined ? {} : { rows: { start, of } }),
})
const wholeRows = (scale: number): NamedTensor => {
  const { rows: _rows, ...tensor } = rows(0, numRows, scale)
  return tensor
}
const bias = (scale: number): NamedTensor => ({ name: 'ln.bias', shape: [2], data: Float32Array.of(scale, -scale) })

function contents(tensorsOf: (scale: number) => NamedTensor[]): CheckpointContents {
  return {
    step: 7,
    samplesSeen: 7,
    seed: 1,
    digest: 'd',
    generation: 1,
    job: {},
    model: {},
    createdBy: {},
    parameters: tensorsOf(1),
    expAvg: tensorsOf(1.5),
    expAvgSq: tensorsOf(1.25),
  }
}

/** Begins and ends of runs between these borders. */
function runsBetween(borders: readonly number[]): readonly (readonly [start: number, size: number])[] {
  const all = [...new Set([0, ...borders, numRows])].sort((a, b) => a - b)
  return all.slice(1).map((end, i) => [all[i] as number, end - (all[i] as number)])
}

/** A part has a run of the rows, the first one the rest too. */
async function saveCut(root: string, runs: readonly (readonly [start: number, size: number])[], of = numRows) {
  const parts = runs.length
  for (const [part, [start, size]] of runs.entries()) {
    const own = contents(scale => [...(part === 0 ? [bias(scale)] : []), rows(start, size, scale, of)])
    await savePart(root, own, { part, parts })
  }
  return publishParts(root, { step: 7, parts, generation: 1 })
}

/** As the checkpoint has them: the parameter, its first, its second moments. */
async function read(checkpoint: Checkpoint, shape: readonly number[], wanted?: TensorRows) {
  const empty = (): NamedTensor => {
    const data = new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(Number.NaN)
    return { name: cutName, shape, data, ...(wanted === undefined ? {} : { rows: wanted }) }
  }
  const [parameter, expAvg, expAvgSq] = [empty(), empty(), empty()]
  await checkpoint.readParametersInto([parameter])
  await checkpoint.readMomentsInto([expAvg], [expAvgSq])
  return [parameter, expAvg, expAvgSq]
}

describe('a tensor of which parts have rows', () => {
  test('is read whole, and in any other runs of rows, moments too', async () => {
    const borders = fc.array(fc.integer({ min: 1, max: numRows - 1 }), { maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(borders, borders, async (written, wanted) => {
        using folder = temporaryFolder('rows')
        const runs = runsBetween(written)
        await saveCut(folder.path, runs)
        await using checkpoint = await openCheckpoint(folder.path)
        expect(await checkpoint.readParameters()).toEqual([bias(1), wholeRows(1)])
        expect(await read(checkpoint, [numRows, width])).toEqual([1, 1.5, 1.25].map(wholeRows))
        for (const [start, size] of runsBetween(wanted)) {
          const got = await read(checkpoint, [size, width], { start, of: numRows })
          expect(got).toEqual([1, 1.5, 1.25].map(scale => rows(start, size, scale)))
        }
      }),
      { numRuns: 20 },
    )
  })

  test('that lies whole in one file is read in runs as well', async () => {
    using folder = temporaryFolder('rows')
    await saveCheckpoint(
      folder.path,
      contents(scale => [bias(scale), wholeRows(scale)]),
    )
    await using checkpoint = await openCheckpoint(folder.path)
    expect(checkpoint.manifest.files.map(file => file.rows)).toEqual([undefined, undefined])
    for (const [start, size] of runsBetween([2, 5])) {
      expect((await read(checkpoint, [size, width], { start, of: numRows }))[1]).toEqual(rows(start, size, 1.5))
    }
  })

  test('is asked for in its own shape only', async () => {
    using folder = temporaryFolder('rows')
    await saveCut(folder.path, runsBetween([3]))
    await using checkpoint = await openCheckpoint(folder.path)
    await expect(read(checkpoint, [numRows + 1, width])).rejects.toThrow(code('TENSORS'))
    await expect(read(checkpoint, [numRows, width + 1])).rejects.toThrow(code('TENSORS'))
    await expect(read(checkpoint, [4, width], { start: 4, of: numRows })).rejects.toThrow(code('TENSORS'))
    await expect(read(checkpoint, [4, width], { start: 0, of: 8 })).rejects.toThrow('rows from 0 on of 8')
    await expect(checkpoint.readParametersInto([{ ...bias(1), name: 'other' }])).rejects.toThrow('no tensor other')
  })

  test('in files that do not have each row once makes no checkpoint', async () => {
    using folder = temporaryFolder('rows')
    const refused = (runs: [number, number][], why: string, of?: number) =>
      expect(saveCut(folder.path, runs, of)).rejects.toThrow(
        expect.objectContaining({ code: 'SKEIN_CHECKPOINT_ROWS', message: expect.stringContaining(why) }),
      )
    await refused(
      [
        [0, 3],
        [4, 3],
      ],
      'no file has rows 3 to 3',
    )
    await refused(
      [
        [0, 3],
        [3, 3],
      ],
      'no file has rows 6 to 6',
    )
    await refused([[1, 6]], 'no file has rows 0 to 0')
    await refused(
      [
        [0, 4],
        [3, 4],
      ],
      'row 3 is in model-part-2-of-2',
    )
    await refused(
      [
        [0, 4],
        [4, 3],
      ],
      'it has 6 rows, and files have 7',
      6,
    )
    expect(fs.readdirSync(folder.path)).toEqual([])
    await expect(
      saveCheckpoint(
        folder.path,
        contents(scale => [rows(0, 3, scale)]),
      ),
    ).rejects.toThrow(code('ROWS'))
    const ofSix = { name: 'b', ...rowsOf([rows(4, 2, 1, 6)]) }
    expect(() => assertAllRows([{ name: 'a', ...rowsOf([rows(0, 4, 1)]) }, ofSix], 'c')).toThrow(
      'a has rows of 7, b of 6',
    )
  })
})

describe('a manifest that was changed', () => {
  /** Of a checkpoint cut after row 3: as `change` leaves its manifest, the first file of parameters first. */
  async function changed(change: (files: Manifest['files'], folder: string) => Promise<void> | void) {
    const folder = temporaryFolder('rows')
    const { path: checkpoint } = await saveCut(folder.path, runsBetween([3]))
    const file = path.join(checkpoint, 'manifest.json')
    const manifest = JSON.parse(fs.readFileSync(file, 'utf8')) as Manifest
    await change(manifest.files, checkpoint)
    fs.writeFileSync(file, JSON.stringify(manifest))
    return folder
  }
  const runOf = (file: Manifest['files'][number] | undefined, name = cutName) => file?.rows?.[name] as { size: number }

  test('so that a row is missing is passed over like any damage, and refused where it is named', async () => {
    using folder = await changed(files => void (runOf(files[0]).size = 2))
    await expect(openCheckpoint(path.join(folder.path, 'step-00000007'))).rejects.toThrow('no file has rows 2 to 2')
    await expect(findCheckpoint(folder.path)).rejects.toThrow(code('NONE_WHOLE'))
  })

  test('so that it names other rows than the files have is refused when they are read', async () => {
    using folder = await changed(files => {
      const [first, , second] = files
      runOf(first).size = 2
      Object.assign(runOf(second), { start: 2, size: 5 })
    })
    await using checkpoint = await openCheckpoint(folder.path)
    await expect(checkpoint.readParameters()).rejects.toThrow('should have 2 rows of it and has 3×3')
    await expect(read(checkpoint, [numRows, width])).rejects.toThrow(code('ROWS'))
  })

  test('so that it takes rows for a whole tensor, or names rows of none, is refused', async () => {
    using folder = await changed(files => {
      for (const file of files) delete file.rows
    })
    await using checkpoint = await openCheckpoint(folder.path)
    await expect(checkpoint.readParameters()).rejects.toThrow('both have it')
    using other = await changed(([first]) => {
      if (first?.rows !== undefined) first.rows['wpe.weight'] = { start: 0, size: 3, of: 3 }
    })
    await using misnamed = await openCheckpoint(other.path)
    await expect(misnamed.readParameters()).rejects.toThrow('names rows of it in this file, which has none')
  })

  test('and files whose rows are not of one length are refused', async () => {
    using folder = await changed(async (files, checkpoint) => {
      const second = files[2] as Manifest['files'][number]
      const wider = { name: cutName, shape: [4, 5], data: new Float32Array(20) }
      Object.assign(second, await writeSafetensors(path.join(checkpoint, second.name), [wider]))
    })
    await using checkpoint = await openCheckpoint(folder.path)
    await expect(checkpoint.readParameters()).rejects.toThrow('rows of another length')
  })
})
