import fs from 'node:fs'
import path from 'node:path'
import { openCheckpoint } from '@skein/checkpoint'
import { deferred, type Deferred } from '@skein/core'
import type { ResolvedJob } from '@skein/job'
import { flatLayout } from '@skein/model'
import { createSharedMemory, createSimd, SharedArena } from '@skein/simd'
import { temporaryFolder } from '@skein/testkit'
import { expect, onTestFinished, test } from 'vitest'
import { checkpointSink, type PartSaving } from './checkpoints.ts'
import { createTrainingState, trainingStateBytes } from './training-state.ts'

function rootOf(): string {
  const folder = temporaryFolder('sink')
  onTestFinished(() => folder[Symbol.dispose]())
  return path.join(folder.path, 'checkpoints')
}

interface Told {
  readonly step: number
  readonly generation: number
  readonly code?: string
}

/** A sink for a model of one tensor, and what it tells. */
function sinkOf(parts: {
  readonly root: string
  readonly tensor: string
  readonly generation: () => number
  readonly partSaving?: () => PartSaving
}) {
  const layout = flatLayout([{ name: parts.tensor, shape: [64], decay: false, segment: 0 }])
  const arena = new SharedArena(createSharedMemory(trainingStateBytes(layout)))
  const told: Told[] = []
  const sink = checkpointSink({
    state: createTrainingState(layout, arena),
    simd: createSimd(arena.memory),
    root: parts.root,
    keep: 0,
    shardBytes: 1 << 20,
    environment: {},
    globalBatch: 8,
    facts: {
      seed: 1,
      get generation() {
        return parts.generation()
      },
      dataFingerprint: 'd',
      job: {} as ResolvedJob,
      model: {} as ResolvedJob['model'],
      createdBy: {},
    },
    ...(parts.partSaving === undefined ? {} : { partSaving: parts.partSaving }),
    onSaved: (step, generation) => told.push({ step, generation }),
    onFailed: (step, generation, { code }) => told.push({ step, generation, code }),
  })
  onTestFinished(() => sink[Symbol.asyncDispose]())
  return { sink, told }
}

/** The two parts of a model, and a coordinator that counts which of them are on disk in its generation. */
function twoParts() {
  const root = rootOf()
  let generation = 1
  const saved = new Set<number>()
  let all: Deferred<boolean> = deferred()
  const savingOf = (part: number): PartSaving => {
    const [of, whenAll] = [generation, all.promise]
    return {
      part,
      parts: 2,
      owns: () => true,
      partSaved() {
        if (of === generation) saved.add(part)
        if (saved.size === 2) all.resolve(true)
      },
      allPartsSaved: () => whenAll,
    }
  }
  const [first, second] = [0, 1].map(part =>
    sinkOf({ root, tensor: `w${part}`, generation: () => generation, partSaving: () => savingOf(part) }),
  ) as [ReturnType<typeof sinkOf>, ReturnType<typeof sinkOf>]
  const nextGeneration = () => {
    all.resolve(false)
    all = deferred()
    saved.clear()
    generation++
  }
  return { root, first, second, saved, nextGeneration, giveUp: () => all.resolve(false) }
}

const tensorsAt = async (root: string) => {
  await using checkpoint = await openCheckpoint(root, {})
  return (await checkpoint.readParameters()).map(({ name }) => name).toSorted()
}

test('parts that were not published when their generation ended are saved again by all in the next one', async () => {
  const { root, first, second, saved, nextGeneration } = twoParts()
  await second.sink.save(3)
  await second.sink.flush()
  expect([...saved]).toEqual([1])
  nextGeneration()
  await Promise.all([first.sink.save(3), second.sink.save(3)])
  await second.sink.flush()
  expect(saved.has(1), 'part 1 is told of again').toBe(true)
  await first.sink.flush()
  expect(first.told).toEqual([{ step: 3, generation: 2 }])
  expect(await tensorsAt(root)).toEqual(['w0', 'w1'])
})

test('a part still being written when its generation ends takes nothing away from the next one', async () => {
  const { root, first, second, nextGeneration } = twoParts()
  await first.sink.save(3)
  nextGeneration()
  await Promise.all([first.sink.save(3), second.sink.save(3)])
  await Promise.all([first.sink.flush(), second.sink.flush()])
  expect(first.told).toEqual([{ step: 3, generation: 2 }])
  expect(await tensorsAt(root)).toEqual(['w0', 'w1'])
  expect(fs.readdirSync(root).filter(name => name.startsWith('.'))).toEqual([])
})

test('parts of which one will not come are taken away at the end of their generation', async () => {
  const { root, first, giveUp } = twoParts()
  await first.sink.save(3)
  giveUp()
  await first.sink.flush()
  expect(first.told).toEqual([])
  expect(fs.readdirSync(root)).toEqual([])
})

test('what becomes of a save is told with the generation of its state, whichever is under way by then', async () => {
  for (const isBroken of [false, true]) {
    let generation = 4
    const root = rootOf()
    // A file where the folder is to be.
    if (isBroken) fs.writeFileSync(root, '')
    const { sink, told } = sinkOf({ root, tensor: 'w', generation: () => generation })
    await sink.save(3)
    generation = 5
    await sink.flush()
    const failure = isBroken ? { code: 'SKEIN_CHECKPOINT_WRITE' } : {}
    expect(told).toEqual([{ step: 3, generation: 4, ...failure }])
    // The whole model is saved once, in whatever generation; what failed is tried again.
    await sink.save(3)
    await sink.flush()
    expect(told.slice(1)).toEqual(isBroken ? [{ step: 3, generation: 5, ...failure }] : [])
  }
})
