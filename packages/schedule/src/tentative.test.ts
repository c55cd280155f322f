import { expect, test } from 'vitest'
import { families, generateSchedule } from './families.ts'
import { withPostValidation } from './post-validation.ts'
import { describeOp, isTransfer, type Schedule } from './schedule.ts'
import { messagesLeftOver, verdictAt } from './tentative.ts'
import { lower } from './transfers.ts'
import { checkSchedule } from './validate.ts'

/** Of every rule that updates once a step, for as many sizes as it takes. */
function* validatedOnes(): Generator<Schedule> {
  for (const { name } of families) {
    if (name === 'pipedream') continue
    for (const ranks of [1, 2, 3, 4]) {
      for (const microbatches of [2 * ranks - 1, 2 * ranks, 4 * ranks]) {
        let made: Schedule
        try {
          made = generateSchedule(name, { ranks, microbatches })
        } catch {
          // It has none of such sizes, and says so.
          continue
        }
        yield withPostValidation(made)
      }
    }
  }
}

test('what runs before a verdict takes nothing that another rank makes after it', () => {
  let count = 0
  for (const schedule of validatedOnes()) {
    expect(checkSchedule(schedule), schedule.name).toBeUndefined()
    expect(checkSchedule(lower(schedule)), schedule.name).toBeUndefined()
    count++
  }
  expect(count).toBeGreaterThan(120)
})

test('a verdict that comes earlier on the first rank than on the next is refused', () => {
  const validated = withPostValidation(generateSchedule('1f1b', { ranks: 3, microbatches: 5 }))
  const [first = [], ...rest] = validated.ops
  const early = { op: 'validate', step: -1 } as const
  const moved: Schedule = { ...validated, ops: [[early, ...first.filter(({ op }) => op !== 'validate')], ...rest] }
  expect(checkSchedule(moved)).toEqual({
    kind: 'order',
    message:
      'rank 1 has "F of stage 1, microbatch 0" before the verdict, and takes it from "F of stage 0, microbatch 0", which rank 0 has after it',
  })
})

test('receives before a verdict are of messages before their sender’s, and all of these from the next rank', () => {
  let moved = 0
  for (const schedule of validatedOnes()) {
    for (const ahead of [0, 4]) {
      const lowered = lower(schedule, ahead)
      expect(checkSchedule(lowered)).toBeUndefined()
      for (const [rank, list] of lowered.ops.entries()) {
        for (const [peer, theirs] of lowered.ops.entries()) {
          const isFrom = (op: (typeof list)[number]) => isTransfer(op) && op.peer === peer && op.op.startsWith('recv')
          const isTo = (op: (typeof list)[number]) => isTransfer(op) && op.peer === rank && op.op.startsWith('send')
          const posted = list.slice(0, verdictAt(list)).filter(isFrom).length
          const sent = theirs.slice(0, verdictAt(theirs)).filter(isTo).length
          expect(posted).toBeLessThanOrEqual(sent)
          if (peer === rank + 1) expect(posted).toBe(sent)
          if (peer === rank + 1 && ahead === 0) moved += messagesLeftOver(lowered, rank).get(peer)?.length ?? 0
        }
      }
    }
  }
  // There are such that are taken only after the verdict.
  expect(moved).toBeGreaterThan(0)
})

test('forwards for which the next rank has no use yet are left over: two of zb-h2, one of 1f1b', () => {
  const leftTo = (name: string, rank: number) => {
    const lowered = lower(withPostValidation(generateSchedule(name, { ranks: 4, microbatches: 8 })))
    return [...messagesLeftOver(lowered, rank)].map(([peer, ops]) => [peer, ops.map(describeOp)])
  }
  expect(leftTo('zb-h2', 0)).toEqual([])
  expect(leftTo('zb-h2', 1)).toEqual([
    [0, ['recvActivation of stage 1, microbatch 5 from rank 0', 'recvActivation of stage 1, microbatch 6 from rank 0']],
  ])
  expect(leftTo('1f1b', 3)).toEqual([[2, ['recvActivation of stage 3, microbatch 1 from rank 2']]])
})
