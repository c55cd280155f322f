import { expect, test } from 'vitest'
import { drawPlan } from './draw.ts'
import { ringAllReduce } from './ring.ts'

test('a ring of three is drawn as it runs', () => {
  const picture = drawPlan(ringAllReduce({ ranks: 3, elems: 300 }), {
    columns: 40,
    costs: { latencyMs: 0, msPerByte: 1 },
  })
  expect(picture).toBe(`ring-all-reduce: 3 ranks, 300 elements, 12 messages, at most 1600 B sent by one rank, 1.60e+3 ms
0 out 1>>>>>>>>>1>>>>>>>>>1>>>>>>>>>1>>>>>>>>>
  in  2+++++++++2+++++++++2=========2=========
1 out 2>>>>>>>>>2>>>>>>>>>2>>>>>>>>>2>>>>>>>>>
  in  0+++++++++0+++++++++0=========0=========
2 out 0>>>>>>>>>0>>>>>>>>>0>>>>>>>>>0>>>>>>>>>
  in  1+++++++++1+++++++++1=========1=========`)
})

test('a plan that does nothing is drawn idle', () => {
  expect(drawPlan(ringAllReduce({ ranks: 1, elems: 3 }), { columns: 5 })).toContain('0 out .....')
})
