import { expect, test } from 'vitest'
import { checkCheckpoints, type CheckpointNews } from './check-checkpoints.ts'
import { slackMs } from './check-times.ts'

const failed = (atMs: number): CheckpointNews => ({ event: 'checkpoint-failed', atMs, text: 'no space' })
const skipped = (atMs: number): CheckpointNews => ({ event: 'checkpoint-skipped', atMs, text: 'cut short' })
const disk = { kind: 'disk', fromMs: 100, untilMs: 200 } as const
const torn = { kind: 'torn', fromMs: 100, untilMs: 200 } as const

test('a full disk and a torn checkpoint are told of while they last, or right after', () => {
  expect(checkCheckpoints([failed(150), skipped(190)], [disk, torn])).toEqual([])
  expect(checkCheckpoints([failed(200 + slackMs)], [disk])).toEqual([])
  expect(checkCheckpoints([], [])).toEqual([])
})

test('silence is found, and so is news of the other kind or of another time', () => {
  expect(checkCheckpoints([], [disk])).toEqual(['disk: the run said no checkpoint-failed'])
  expect(checkCheckpoints([failed(150)], [disk, torn])).toEqual(['torn: the run said no checkpoint-skipped'])
  expect(checkCheckpoints([skipped(99)], [torn])).toHaveLength(1)
})

test('a checkpoint that fails without a full disk is found', () => {
  const unexplained = ['a checkpoint failed while no disk was full: no space']
  expect(checkCheckpoints([failed(150)], [torn, { ...disk, fromMs: 151 }])).toContain(unexplained[0])
  expect(checkCheckpoints([failed(150), failed(201 + slackMs)], [disk])).toEqual(unexplained)
  expect(checkCheckpoints([failed(1)], [])).toEqual(unexplained)
})
