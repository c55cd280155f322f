import { expect, test } from 'vitest'
import { bruckAllToAll } from './all-to-all.ts'
import { collectiveAlgorithms, generatePlan } from './algorithms.ts'
import { compress } from './compress.ts'
import { drawPlan } from './draw.ts'
import { drawPlanSvg } from './draw-svg.ts'
import type { CollectiveKind } from './plan.ts'
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

test('what ranks do by themselves has a line of its own', () => {
  const costs = { latencyMs: 0, msPerByte: 1, copyMsPerByte: 0.5 }
  expect(
    drawPlan(compress(ringAllReduce({ ranks: 2, elems: 200 })), { columns: 40, costs })
      .split('\n')
      .slice(1),
  ).toEqual([
    '0 out .......1>>>>>>>>>>>>.......1>>>>>>>>>>>>',
    '  in  .......1++++++++++++.......1============',
    '  own #######.............#######.............',
    '1 out .......0>>>>>>>>>>>>.......0>>>>>>>>>>>>',
    '  in  .......0++++++++++++.......0============',
    '  own #######.............#######.............',
  ])
  expect(drawPlan(bruckAllToAll({ ranks: 2, blockElems: 4 }), { columns: 20, costs })).toContain('own ::')
})

test('every algorithm can be drawn, as text and as SVG', () => {
  for (const [kind, table] of Object.entries(collectiveAlgorithms)) {
    for (const name of Object.keys(table)) {
      const hosts = [0, 0, 1, 1]
      const plan = generatePlan(kind as CollectiveKind, name, { ranks: 4, elems: 40, hosts, segmentElems: 10 })
      const lines = drawPlan(plan).split('\n')
      expect((lines.length - 1) % 4).toBe(0)
      expect(new Set(lines.slice(1).map(line => line.length)).size).toBe(1)
      const svg = drawPlanSvg(plan)
      expect(svg.match(/<title>/g)).toHaveLength(plan.ops.flat().length)
      expect(svg).not.toMatch(/NaN|undefined|Infinity/)
    }
  }
})

test('a box of an SVG says its op and when it is', () => {
  const plan = { ...ringAllReduce({ ranks: 2, elems: 2 }), name: 'a<b&c>' }
  const svg = drawPlanSvg(plan, { costs: { latencyMs: 0, msPerByte: 1 }, widthPx: 488 })
  expect(svg).toContain('<svg xmlns="http://www.w3.org/2000/svg" width="488" height="136" viewBox="0 0 488 136"')
  expect(svg).toContain('a&lt;b&amp;c&gt;: 2 ranks')
  expect(svg).toContain(
    '<rect x="76" y="40" width="199.5" height="10" fill="#4c78a8"><title>rank 0: send [1,2) to 1, 0.000 to 4.000 ms</title></rect>',
  )
  expect(drawPlanSvg(ringAllReduce({ ranks: 1, elems: 3 }))).toContain('rank 0 out')
})
