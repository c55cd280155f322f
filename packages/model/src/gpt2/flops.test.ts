import { numElements, type Shape } from '@skein/core'
import { traceGraph } from '@skein/device'
import { expect, it } from 'vitest'
import { type Gpt2Config, gpt2Params } from './config.ts'
import { attentionPart, gpt2UnitFlops } from './flops.ts'
import { segmentForward } from './segment-passes.ts'
import { gpt2Cuts, gpt2StageRanges, gpt2Units } from './units.ts'

const config: Gpt2Config = { layers: 2, width: 16, heads: 2, context: 8, vocab: 24 }

it('are those of the products in the traced forward pass of each unit', () => {
  const ranges = gpt2StageRanges(
    config,
    gpt2Units(config).map(() => 1),
  )
  const params = Object.fromEntries(gpt2Params(config, ranges).map(({ name, shape }) => [name, { shape }]))
  const rows = { shape: [config.context], dtype: 'int32' } as const
  const inputs = { ...params, ids: rows, targets: rows, x: { shape: [config.context, config.width] } }
  const found = ranges.map(range => {
    const { nodes } = traceGraph(inputs, 'f32', (k, given) =>
      segmentForward(k, range, { ...config, samples: 1, tokens: config.context }, given),
    )
    const shapeOf = new Map<string, Shape>(
      nodes.flatMap(({ name, outputs }) => outputs.map((shape, i) => [`${name}:${i}`, shape] as const)),
    )
    const inputShapes = Object.values(inputs).map(({ shape }, i) => [`x${i}:0`, shape] as const)
    for (const [ref, shape] of inputShapes) shapeOf.set(ref, shape)
    return nodes
      .filter(({ op }) => /MatMul/.test(op))
      .reduce((sum, { inputs: operands, outputs }) => {
        const [a, b] = operands.map(ref => numElements(shapeOf.get(ref) ?? [])) as [number, number]
        const out = numElements(outputs[0] ?? [])
        // Of batches G of [M,K], [K,N] and [M,N]: the root of their elements' product, over the root of G, is M·K·N·G.
        const batches = (outputs[0]?.length ?? 0) > 2 ? config.heads : 1
        return sum + 2 * Math.sqrt((a * b * out) / batches)
      }, 0)
  })
  expect(found).toHaveLength(4)
  for (const [unit, flops] of gpt2UnitFlops(config).entries()) expect(found[unit]).toBeCloseTo(flops, 3)
})

it('cut a GPT-2 small in two with its embedding in front, and give its head the room of four blocks', () => {
  const small: Gpt2Config = { layers: 12, width: 768, heads: 12, context: 1024, vocab: 50_257 }
  const flops = gpt2UnitFlops(small)
  expect((flops.at(-1) as number) / (flops[1] as number)).toBeCloseTo(4.46, 2)
  expect(gpt2Cuts(small, 2)).toEqual([9, 5])
})

it('of attention are a small part of short sequences and most of long ones', () => {
  const part = (context: number) => attentionPart({ ...config, width: 768, context })
  expect(part(1024)).toBeCloseTo(0.1, 2)
  expect(part(768 * 12)).toBeCloseTo(0.5, 10)
})
