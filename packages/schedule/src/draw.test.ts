import { expect, test } from 'vitest'
import { drawSchedule, drawScheduleSvg } from './draw.ts'
import { unitCosts } from './costs.ts'
import { families, generateSchedule } from './families.ts'
import { withFill } from './fill.ts'
import { isCompute, isCopy } from './schedule.ts'
import { simulate } from './simulate.ts'

/** The pictures of the papers, drawn by another program (V-Half’s last row has a few passes in another order there); what is idle at the end is cut off. */
const pictures: readonly [name: string, microbatches: number, chunks: number | undefined, rows: readonly string[]][] = [
  [
    '1f1b',
    4,
    undefined,
    [
      'r0 F0F1F2F3. . . . . . B0B0. B1B1. B2B2. B3B3',
      'r1 . F0F1F2. . . . B0B0F3B1B1. B2B2. B3B3',
      'r2 . . F0F1. . B0B0F2B1B1F3B2B2. B3B3',
      'r3 . . . F0B0B0F1B1B1F2B2B2F3B3B3',
    ],
  ],
  [
    'zb-h1',
    8,
    undefined,
    [
      'r0 F0F1F2F3. . . B0W0F4B1W1F5B2W2F6B3W3F7B4W4B5W5B6W6B7W7',
      'r1 . F0F1F2. . B0F3B1W0F4B2W1F5B3W2F6B4W3F7B5W4B6W5B7W6W7',
      'r2 . . F0F1. B0F2B1F3B2W0F4B3W1F5B4W2F6B5W3F7B6W4B7W5W6W7',
      'r3 . . . F0B0F1B1F2B2F3B3W0F4B4W1F5B5W2F6B6W3F7B7W4W5W6W7',
    ],
  ],
  [
    'zb-h2',
    8,
    undefined,
    [
      'r0 F0F1F2F3F4F5F6B0W0F7B1W1B2W2B3W3B4W4B5W5B6W6B7W7',
      'r1 . F0F1F2F3F4B0F5B1F6B2W0F7B3W1B4W2B5W3B6W4B7W5W6W7',
      'r2 . . F0F1F2B0F3B1F4B2F5B3F6B4W0F7B5W1B6W2B7W3W4W5W6W7',
      'r3 . . . F0B0F1B1F2B2F3B3F4B4F5B5F6B6W0F7B7W1W2W3W4W5W6W7',
    ],
  ],
  [
    'interleaved',
    4,
    2,
    [
      'r0 F0F1F2F3f0f1f2f3. . . . . . b0b0. b1b1. b2b2. b3b3B0B0B1B1B2B2B3B3',
      'r1 . F0F1F2F3f0f1f2f3. . . b0b0. b1b1. b2b2. b3b3B0B0B1B1B2B2B3B3',
      'r2 . . F0F1F2F3f0f1f2. b0b0f3b1b1. b2b2. b3b3B0B0B1B1B2B2B3B3',
      'r3 . . . F0F1F2F3f0b0b0f1b1b1f2b2b2f3b3b3B0B0B1B1B2B2B3B3',
    ],
  ],
  [
    'zb-v',
    8,
    undefined,
    [
      'r0 F0F1F2F3F4F5F6f0b0w0f1b1w1f2b2w2f3b3w3F7B0W0f4b4w4B1W1f5b5w5B2W2f6b6w6B3W3f7b7w7B4W4B5W5B6W6B7W7',
      'r1 . F0F1F2F3F4f0F5f1b0w0f2b1w1f3b2w2F6B0W0f4b3w3F7B1W1f5b4w4B2W2f6b5w5B3W3f7b6w6B4b7B5W4B6W5B7W6w7W7',
      'r2 . . F0F1F2f0F3f1F4f2b0w0f3b1w1F5B0W0f4b2w2F6B1W1f5b3w3F7B2W2f6b4w4B3W3f7b5w5B4b6B5b7B6W4B7W5w6w7W6W7',
      'r3 . . . F0f0F1f1F2f2F3f3b0w0F4B0W0f4b1w1F5B1W1f5b2w2F6B2W2f6b3w3F7B3W3f7b4w4B4b5B5b6B6b7B7W4w5w6w7W5W6W7',
    ],
  ],
  [
    'v-half',
    8,
    undefined,
    [
      'r0 F0F1F2F3F4. . f0b0w0f1b1w1f2. . B0b2W0f3w2F5B1b3W1f4w3F6B2b4W2f5w4F7B3b5W3f6b6w5B4w6W4f7b7B5w7B6W5W6. B7W7',
      'r1 . F0F1F2F3. f0. f1b0w0f2b1w1. B0W0F4f3b2w2B1W1F5f4b3w3B2W2F6f5b4w4B3F7W3f6b5w5B4b6W4f7w6B5b7B6W5w7W6B7W7',
      'r2 . . F0F1F2f0. f1. f2b0w0F3b1B0w1W0f3F4. B1b2W1f4w2F5B2b3W2f5w3F6B3b4W3f6w4F7B4b5W4f7b6B5w5B6b7w6W5B7W6w7W7',
      'r3 . . . F0f0F1f1F2f2. . b0B0w0F3W0f3b1w1B1W1F4f4b2w2B2W2F5f5b3w3B3W3F6f6b4B4w4F7W4f7b5B5b6B6w5W5b7B7w6W6w7W7',
    ],
  ],
]

test.each(pictures)('%s with %d microbatches is drawn as its paper does', (name, microbatches, chunks, rows) => {
  const schedule = generateSchedule(name, { ranks: 4, microbatches, ...(chunks === undefined ? {} : { chunks }) })
  expect(drawSchedule(schedule).split('\n').slice(1)).toEqual(rows)
})

test('the first line says sizes, time, idle part and memory', () => {
  expect(drawSchedule(generateSchedule('zb-v', { ranks: 4, microbatches: 8 })).split('\n')[0]).toBe(
    'zb-v: 4 ranks with 2 stages each, 8 microbatches, time 25.5, idle 5.9 %, at most 4 activations held',
  )
})

test('every schedule can be drawn, with three digits where a rank holds many stages, and as SVG', () => {
  for (const { name, slices } of families) {
    const schedule = generateSchedule(name, { ranks: 4, microbatches: 8 })
    const lines = drawSchedule(schedule, { costs: { forward: 1, inputGrad: 1.3, weightGrad: 0.7, hop: 0.2 } }).split(
      '\n',
    )
    expect(lines).toHaveLength(5)
    for (const line of lines) expect(line).not.toMatch(/NaN|undefined|Infinity/)
    if (slices !== true) expect(lines[1]).toMatch(name === 'bitpipe' ? /^r0 F00F02/ : /^r0 F0/)
    const svg = drawScheduleSvg(schedule)
    expect(svg).not.toMatch(/NaN|undefined|Infinity/)
    expect(svg.match(/<title>/g)).toHaveLength(schedule.ops.flat().filter(isCompute).length)
  }
})

test('a box of the SVG says its op and when it runs', () => {
  expect(drawScheduleSvg(generateSchedule('1f1b', { ranks: 2, microbatches: 2 }))).toContain(
    '<title>rank 1: BW of stage 1, microbatch 0, 2.000 to 4.000</title>',
  )
})

test('every pass takes the same width, whatever its label: columns stand below each other', () => {
  const deep = generateSchedule('hanayo', { ranks: 2, microbatches: 2, chunks: 38 })
  const costs = { ...unitCosts, frozen: [1, 0.5] }
  const filled = ['sppo', 'bitpipe'].map(name => withFill(generateSchedule(name, { ranks: 4, microbatches: 8 }), costs))
  for (const schedule of [deep, ...filled]) {
    const { ops } = simulate(schedule, costs)
    const passes = ops.map(list => list.filter(({ op, start, end }) => end > start && !isCopy(op)))
    const unit = passes.flat().reduce((least, { start, end }) => Math.min(least, end - start), Number.POSITIVE_INFINITY)
    const rows = drawSchedule(schedule, { costs }).split('\n').slice(1)
    for (const [rank, row] of rows.entries()) {
      // Label and filling of one pass: 3 characters, or 4 where a rank has so many stages.
      const cells = row.slice(3).match(schedule === deep ? /.{4}/gsu : /.{3}/gsu) ?? []
      expect(cells).toHaveLength(Math.round((passes[rank]?.at(-1)?.end ?? 0) / unit))
      for (const cell of cells) expect(cell).toMatch(/^(?:[FBWR]\w+|#\w|\.) *$/iu)
    }
  }
})

test('a pass too short for a line of text is refused, with what would do', () => {
  const costs = { ...unitCosts, frozen: [1e-10] }
  const schedule = withFill(generateSchedule('1f1b', { ranks: 2, microbatches: 4 }), costs)
  expect(() => drawSchedule(schedule, { costs })).toThrow(/SVG/u)
  expect(drawScheduleSvg(schedule, { costs })).toMatch(/^<svg/u)
})
