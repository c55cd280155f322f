import { expect, test } from 'vitest'
import { chooseAllReduce, defaultAlgorithmLimits } from './choose-algorithm.ts'

test.each([
  [0, 2, 'star'],
  [64 * 1024, 8, 'star'],
  [64 * 1024, 9, 'tree'],
  [64 * 1024 + 4, 4, 'tree'],
  [256 * 1024 - 4, 2, 'tree'],
  [256 * 1024, 2, 'ring'],
  [512 * 1024, 4, 'ring'],
  [64 * 2 ** 20, 16, 'ring'],
] as const)('%i bytes among %i ranks go by the %s', (bytes, ranks, algorithm) => {
  expect(chooseAllReduce(bytes, ranks, defaultAlgorithmLimits)).toBe(algorithm)
})
