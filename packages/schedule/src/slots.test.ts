import { expect, test } from 'vitest'
import { generateSchedule } from './families.ts'
import { leastSlots } from './slots.ts'

/** Found by another program. "Send, then receive" on one thread is 0 slots: it works for GPipe alone. */
test.each<[name: string, ranks: number, microbatches: number, chunks: number | undefined, slots: number]>([
  ['gpipe', 8, 16, undefined, 0],
  ['1f1b', 8, 16, undefined, 1],
  ['zb-h1', 8, 16, undefined, 1],
  ['zb-h2', 8, 16, undefined, 1],
  ['interleaved', 8, 16, 2, 1],
  ['breadth-first', 8, 16, 2, 2],
  ['zb-v', 8, 16, undefined, 2],
  ['v-half', 8, 16, undefined, 2],
  ['v-min', 8, 16, undefined, 2],
  ['interleaved', 2, 8, 2, 2],
  ['breadth-first', 2, 8, 2, 4],
])(
  '%s on %d ranks with %d microbatches and %s chunks needs %d slots on a link',
  (name, ranks, microbatches, chunks, slots) => {
    expect(
      leastSlots(generateSchedule(name, { ranks, microbatches, ...(chunks === undefined ? {} : { chunks }) })),
    ).toBe(slots)
  },
)
