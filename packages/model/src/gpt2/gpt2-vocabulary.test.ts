import { createPortableDevice, createTensorFlowDevice, type KernelDevice, loadBinding, loadTfjs } from '@skein/device'
import { relativeL2 } from '@skein/testkit'
import { afterEach, describe, expect, it } from 'vitest'
import { placeOf } from '../flat-layout.ts'
import { vocabShards } from '../layers/sharded-vocab.ts'
import type { PipelineStage, StageTensor, VocabularyPart } from '../pipeline-stage.ts'
import { randomBatch } from './batch.test.support.ts'
import type { Gpt2Config } from './config.ts'
import { Gpt2 } from './gpt2-model.ts'
import { Gpt2Pipeline } from './gpt2-pipeline.ts'
import { gpt2Cuts } from './units.ts'

const config: Gpt2Config = { layers: 2, width: 16, heads: 2, context: 8, vocab: 37 }
const wte = 'transformer.wte.weight'
const samples = 3
const tf = loadTfjs()
const binding = loadBinding()
const open: { dispose(): void }[] = []
afterEach(() => {
  for (const owner of open.splice(0).toReversed()) owner.dispose()
})

const kinds = ['graph', 'raw', 'portable'] as const
function openDevice(kind: (typeof kinds)[number]): KernelDevice {
  const device =
    kind === 'portable' ? createPortableDevice(tf) : createTensorFlowDevice({ binding, kind, precision: 'f32' })
  open.push(device)
  return device
}

/** Ranks of a pipe, each with one stage and its part of the vocabulary, begun for a step of this one microbatch. */
function openRanks(device: KernelDevice, parts: number, microbatch: number) {
  const cuts = parts === 1 ? [4] : parts === 2 ? [2, 2] : [1, 2, 1]
  return cuts.map((_, part) => {
    const model = new Gpt2Pipeline({ config, device, samples, stages: [part], cuts, vocabulary: { part, parts } })
    open.push(model)
    const params = new Float32Array(model.layout.totalElems)
    model.initialise(params, 5)
    const gradients = new Float32Array(params.length)
    const step = { batch: () => randomBatch(config, samples, microbatch), params, gradients }
    const stage = model.stages.get(part) as PipelineStage
    const vocabulary = model.vocabulary as VocabularyPart
    stage.begin(step)
    vocabulary.begin(step)
    return { model, stage, vocabulary, params, gradients }
  })
}

function valuesOf(tensor: StageTensor): Float32Array {
  const values = new Float32Array(tensor.elems)
  tensor.copyTo(values)
  tensor.release()
  return values
}

const summed = (parts: readonly Float32Array[]) =>
  parts.reduce((sum, part) => sum.map((value, i) => value + (part[i] as number)))

describe.each(kinds)('%s', kind => {
  it.each([1, 2, 3])('a microbatch over %d parts has the loss and the gradients of the whole model, to 1e-6', parts => {
    const device = openDevice(kind)
    const whole = new Gpt2(config, device, { numSegments: 1 })
    open.push(whole)
    const params = new Float32Array(whole.layout.totalElems)
    whole.initialise(params, 5)
    const gradients = new Float32Array(params.length)
    const { lossSum } = whole.trainMicrobatch(randomBatch(config, samples, 4), params, gradients, { accumulate: false })

    const ranks = openRanks(device, parts, 4)
    const before = device.ledger().liveTensors
    const [first] = ranks as [(typeof ranks)[number]]
    const piece = { microbatch: 0, slice: 0 }
    let x = first.vocabulary.fromValues(summed(ranks.map(({ vocabulary }) => valuesOf(vocabulary.lookUp(0)))))
    for (const { stage } of ranks) x = stage.forward(piece, x, 'activations') as StageTensor
    const y = valuesOf(x)
    const { foundElems } = first.vocabulary
    const found = new Float32Array(parts * foundElems)
    for (const [part, { vocabulary }] of ranks.entries()) {
      const own = found.subarray(part * foundElems, (part + 1) * foundElems)
      vocabulary.logits(0, vocabulary.fromValues(y), own, 'activations')
    }
    const dy = summed(
      ranks.map(({ vocabulary }) => {
        vocabulary.addLoss(0, found)
        const own = valuesOf(vocabulary.inputGrad(0, found))
        vocabulary.weightGrad(0)
        return own
      }),
    )
    let gradient = first.vocabulary.fromValues(dy)
    for (const { stage } of ranks.toReversed()) {
      gradient = stage.inputGrad(piece, gradient) as StageTensor
      stage.weightGrad(piece)
    }
    const dx = valuesOf(gradient)
    for (const { vocabulary } of ranks) vocabulary.lookUpGrad(0, vocabulary.fromValues(dx))

    for (const [part, rank] of ranks.entries()) {
      expect(Math.abs(rank.vocabulary.loss().lossSum / lossSum - 1)).toBeLessThan(1e-6)
      expect(rank.vocabulary.loss().samples).toBe(samples)
      expect(rank.vocabulary.heldBytes() + rank.stage.heldBytes()).toBe(0)
      for (const { name, offset, elems } of rank.model.layout.tensors) {
        const place = placeOf(whole.layout, name)
        const rowsBefore = name === wte ? (vocabShards(config.vocab, parts)[part]?.start ?? Number.NaN) : 0
        const from = place.offset + rowsBefore * config.width
        // First parameters bit by bit.
        expect(rank.params.subarray(offset, offset + elems)).toEqual(params.subarray(from, from + elems))
        const own = rank.gradients.subarray(offset, offset + elems)
        expect(relativeL2(own, gradients.subarray(from, from + elems)), name).toBeLessThan(1e-6)
      }
      rank.stage.reset()
      rank.vocabulary.reset()
    }
    expect(device.ledger().liveTensors).toBeLessThanOrEqual(before)
  })
})

it('a shard counts as the parameter of the stages of its rank, in a bucket of its own', () => {
  const [, second] = openRanks(openDevice('raw'), 2, 0)
  expect(second?.model.stagesOf(wte)).toEqual([1])
  expect(placeOf((second as NonNullable<typeof second>).model.layout, wte).shape).toEqual([19, config.width])
})

it('a stage that only adds positions keeps nothing, which may be brought to the host and back', () => {
  const [first] = openRanks(openDevice('raw'), 3, 0) as [ReturnType<typeof openRanks>[number]]
  const { stage, vocabulary } = first
  const piece = { microbatch: 0, slice: 0 }
  stage.forward(piece, vocabulary.lookUp(0), 'activations')?.release()
  expect(stage.heldBytes()).toBe(0)
  stage.offload(piece, 1)
  const dy = vocabulary.fromValues(new Float32Array(vocabulary.elems))
  expect(() => stage.backward(piece, dy)).toThrow('offloaded and was not reloaded')
  stage.reload(piece)
  stage.backward(piece, dy)?.release()
  expect(stage.heldBytes()).toBe(0)
})

it('passes out of order, and parts that there cannot be, are refused', () => {
  const device = openDevice('raw')
  const [rank] = openRanks(device, 1, 0) as [ReturnType<typeof openRanks>[number]]
  const { vocabulary } = rank
  const found = new Float32Array(vocabulary.foundElems)
  expect(() => vocabulary.inputGrad(0, found)).toThrow('there are no logits of it')
  const y = () => vocabulary.fromValues(new Float32Array(vocabulary.elems))
  vocabulary.logits(0, y(), found, 'activations')
  const again = y()
  expect(() => vocabulary.logits(0, again, found, 'activations')).toThrow('it has them')
  again.release()
  const pipeline = (part: number, parts: number, slices = [config.context]) =>
    new Gpt2Pipeline({ config, device, samples, stages: [0], cuts: [4], slices, vocabulary: { part, parts } })
  expect(() => pipeline(2, 2)).toThrow('part 2 of 2')
  expect(() => pipeline(0, 38)).toThrow('at most 37')
  expect(() => pipeline(0, 2, [4, 4])).toThrow('one slice')
})

it('cuts count the blocks alone where embedding and head are elsewhere', () => {
  const large = { ...config, layers: 8, vocab: 100_000 }
  expect(gpt2Cuts(large, 4, { vocabulary: 'sharded' })).not.toEqual(gpt2Cuts(large, 4))
  const blocks = gpt2Cuts(large, 4, { vocabulary: 'sharded' }).map(
    (units, stage) => units - Number(stage === 0 || stage === 3),
  )
  expect(blocks).toEqual([2, 2, 2, 2])
})
