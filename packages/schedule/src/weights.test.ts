import { expect, test } from 'vitest'
import { generateSchedule } from './families.ts'
import { shardWeights } from './weights.ts'

/** By rank how often weights are gathered in a step. */
const gathers = (name: string, ranks: number, microbatches: number, chunks: number, resident?: number) =>
  shardWeights(generateSchedule(name, { ranks, microbatches, chunks }), resident).ops.map(
    list => list.filter(({ op }) => op === 'gather').length,
  )

test('breadth-first gathers 2v-1 times a step, however many microbatches; interleaved ever more often', () => {
  for (const chunks of [1, 2, 3, 4]) {
    for (const microbatches of [8, 16, 32]) {
      expect(new Set(gathers('breadth-first', 4, microbatches, chunks))).toEqual(new Set([2 * chunks - 1]))
    }
  }
  const interleaved = gathers('interleaved', 8, 32, 2)
  expect([interleaved[0], Math.max(...interleaved)]).toEqual([23, 95])
})

test('ZeroPP gathers less often than interleaved, though more than by whole blocks: the next one fills the idle time of this', () => {
  const most = Math.max(...gathers('zeropp', 4, 16, 2))
  expect(most).toBeLessThan(Math.max(...gathers('interleaved', 4, 16, 2)))
  expect(most).toBeGreaterThan(2 * 2 * (16 / 4))
})

test('with room for all stages each is gathered once', () => {
  expect(new Set(gathers('interleaved', 4, 8, 2, 2))).toEqual(new Set([2]))
})

test('a chunk is reduced while the next is still on its way back', () => {
  const [list = []] = shardWeights(generateSchedule('breadth-first', { ranks: 4, microbatches: 8, chunks: 2 })).ops
  const reduced = list.findIndex(op => op.op === 'reduce' && op.stage === 4)
  const lastBackward = list.findLastIndex(op => op.op === 'BW' && op.stage === 0)
  expect(reduced).toBeGreaterThan(0)
  expect(reduced).toBeLessThan(lastBackward)
})
