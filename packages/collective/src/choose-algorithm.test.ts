import { expect, test } from 'vitest'
import { assumedLinks, chooseAlgorithm } from './choose-algorithm.ts'

const among = (ranks: number, bytes: number) => ({ ranks, bytes, segmentBytes: 256 * 1024, poolBytes: 1 << 16 })

test('every choice is one that exists, for all sizes and numbers of ranks', () => {
  for (const ranks of [1, 2, 3, 8, 16, 64]) {
    for (const bytes of [0, 4, 4096, 1 << 20, 64 << 20]) {
      for (const kind of ['all-reduce', 'reduce-scatter', 'all-gather', 'broadcast', 'all-to-all'] as const) {
        expect(chooseAlgorithm(kind, among(ranks, bytes), assumedLinks)).not.toBe('')
      }
      expect(chooseAlgorithm('all-reduce', { ...among(ranks, bytes), isCoded: true }, assumedLinks)).toBe('direct')
    }
  }
})

test('an algorithm that needs more of the pool than there is, is not chosen', () => {
  const links = { latencyMs: 20, msPerByte: 1e-5, msPerMessage: 0.01 }
  const sizes = { ranks: 4, bytes: 4096, segmentBytes: 256 * 1024 }
  expect(chooseAlgorithm('all-reduce', { ...sizes, poolBytes: 4096 }, links)).toBe('recursive-doubling')
  expect(chooseAlgorithm('all-reduce', { ...sizes, poolBytes: 4095 }, links)).not.toBe('recursive-doubling')
})

test('a few values take as few rounds as there can be; much takes as few bytes as there can be', () => {
  expect(chooseAlgorithm('all-reduce', among(4, 64), { latencyMs: 20, msPerByte: 1e-5, msPerMessage: 0.01 })).toBe(
    'recursive-doubling',
  )
  const large = chooseAlgorithm('all-reduce', among(4, 64 << 20), { latencyMs: 0.5, msPerByte: 8e-6 })
  expect(['ring', 'direct', 'halving-doubling']).toContain(large)
})
