import { expect, test } from 'vitest'
import { unitCosts } from './costs.ts'
import { generateSchedule } from './families.ts'
import { simulate } from './simulate.ts'
import { equalCostCuts, equalLengthCuts, slicePartsOf } from './sppo.ts'

test('cuts of equal cost, where attention is 0.6 of a forward', () => {
  expect(equalCostCuts(4, 0.6).map(cut => Number(cut.toFixed(2)))).toEqual([0, 0.39, 0.64, 0.83, 1])
  for (const attention of [0, 0.3, 0.6, 1]) {
    for (const part of slicePartsOf(equalCostCuts(8, attention), attention)) expect(part).toBeCloseTo(1 / 8, 9)
  }
})

test('slices of equal length idle 42 %, of equal cost 18 %, as another program has found', () => {
  const schedule = generateSchedule('sppo', { ranks: 8, microbatches: 4, slices: 8 })
  const idle = (cuts: readonly number[]) =>
    100 * simulate(schedule, { ...unitCosts, sliceParts: slicePartsOf(cuts, 0.6) }).syncBubble
  expect(idle(equalLengthCuts(8))).toBeCloseTo(42.1, 1)
  expect(idle(equalCostCuts(8, 0.6))).toBeCloseTo(17.9, 1)
})

test('backwards of a microbatch take its last slice first, forwards its first', () => {
  const [list = []] = generateSchedule('sppo', { ranks: 1, microbatches: 1, slices: 3 }).ops
  expect(list.map(op => `${op.op}${'slice' in op ? op.slice : ''}`)).toEqual([
    'F0',
    'F1',
    'F2',
    'BW2',
    'BW1',
    'BW0',
    'update',
  ])
})
