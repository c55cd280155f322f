import { expect, test } from 'vitest'
import { boundsMs, checkTimes, slackMs } from './check-times.ts'

const steps = (...atMs: number[]) => atMs.map((ms, i) => ({ step: i + 1, atMs: ms }))

test('without a fault no step may take long', () => {
  expect(checkTimes(steps(0, 100, 100 + slackMs), [])).toEqual([])
  expect(checkTimes(steps(0, 100, 101 + slackMs), [])).toEqual([
    `step 3 came ${slackMs + 1} ms after the one before; no fault may cost ${slackMs} ms`,
  ])
})

test('a fault accounts for its bound in the gap it falls into, and in no later one', () => {
  const kill = { kind: 'kill', fromMs: 150, untilMs: 1_150 } as const
  const late = 100 + boundsMs.kill + slackMs
  expect(checkTimes(steps(0, 100, late), [kill])).toEqual([])
  expect(checkTimes(steps(0, 100, late + 1), [kill])).toHaveLength(1)
  const longAfter = kill.untilMs + boundsMs.kill + slackMs
  expect(checkTimes(steps(longAfter, longAfter + slackMs + 1), [kill])).toHaveLength(1)
})

test('nothing is committed while the coordinator is away, however long that is', () => {
  const away = { kind: 'coordinator', fromMs: 100, untilMs: 3_100 } as const
  const late = 100 + 3_000 + boundsMs.coordinator + slackMs
  expect(checkTimes(steps(100, late), [away])).toEqual([])
  expect(checkTimes(steps(100, late + 101), [away])).toHaveLength(1)
})
