import { expect, test } from 'vitest'
import { dataParallelStep } from './step.ts'

test('buckets are reduced in the last microbatch, each right after its segment', () => {
  const text = dataParallelStep({ numMicrobatches: 2, numSegments: 2 }).map(op => {
    if (op.op === 'F') return `F${op.microbatch}`
    if (op.op === 'BW') return `BW${op.microbatch}.${op.segment}`
    return op.op === 'reduce' ? `reduce ${op.bucket}` : op.op
  })
  expect(text.join(' ')).toBe('F0 BW0.1 BW0.0 F1 BW1.1 reduce 0 BW1.0 reduce 1 update')
})

test('a step of nothing is refused', () => {
  for (const numMicrobatches of [0, -1, 1.5, Number.NaN]) {
    expect(() => dataParallelStep({ numMicrobatches, numSegments: 1 })).toThrow(
      expect.objectContaining({ code: 'SKEIN_PLAN_OPTIONS' }),
    )
  }
})
