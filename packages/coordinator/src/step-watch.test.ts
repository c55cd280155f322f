import type { Effect, StepEvent } from '@skein/membership'
import { expect, test } from 'vitest'
import { StepWatch } from './step-watch.ts'

const numbers = {
  tokens: 1,
  samples: [0, 8],
  generation: 1,
  workers: 4,
  totalSteps: 99,
  loss: 1,
  elapsedMs: 1,
} as const
const costs = { stepMs: 100, commMs: 1, waitMs: 1, bytesSent: 1, rssBytes: 1 }

/** The second part of the model takes three times as long as the first. */
function stepOf(step: number, slowness: Readonly<Record<string, number>>): StepEvent {
  const members = ['w0', 'w1', 'w2', 'w3'].map((workerId, rank) => ({
    ...costs,
    workerId,
    rank,
    part: rank % 2,
    share: 4,
    computeMs: (rank % 2 === 0 ? 100 : 300) * (slowness[workerId] ?? 1),
  }))
  return { event: 'step', step, ...numbers, ...costs, digest: 'd', computeMs: 300, liveTensors: 1, members }
}

/** Names of those who are said to be slow, in the order in which they are. */
function named(slowness: Readonly<Record<string, number>>): unknown[] {
  const watch = new StepWatch()
  const effects = Array.from({ length: 40 }, (_, i): Effect => ({ type: 'emit', event: stepOf(i + 1, slowness) }))
  const events = watch.watch(effects).flatMap(effect => (effect.type === 'emit' ? [effect.event] : []))
  return events.flatMap(event => (event.event === 'straggler' ? [event.workerId] : []))
}

test('a part that takes longer than the others is nobody’s fault', () => {
  expect(named({})).toEqual([])
})

test('who takes longer than the other one that has the same part is named', () => {
  expect(named({ w3: 1.5 })).toEqual(['w3'])
  expect(named({ w0: 1.5 })).toEqual(['w0'])
})
