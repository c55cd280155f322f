import {
  generateSchedule,
  offloadActivations,
  recompute,
  type Schedule,
  simulate,
  type Simulation,
  usualCopyCosts,
  withVocabularyShards,
} from '@skein/schedule'
import { expect, test } from 'vitest'
import { executedCosts } from './executed-costs.ts'

const sizes = { ranks: 3, microbatches: 9 }
const away = (schedule: Schedule) => offloadActivations(schedule, usualCopyCosts)

test.each<[string, Schedule]>([
  ['1f1b', generateSchedule('1f1b', sizes)],
  ['zb-v that recomputes', recompute(generateSchedule('zb-v', sizes))],
  ['1f1b with activations on the host', away(generateSchedule('1f1b', sizes))],
  ['sliced, dropped and away', away(recompute(generateSchedule('sppo', sizes)))],
  ['zb-h1 with a sharded vocabulary', withVocabularyShards(generateSchedule('zb-h1', sizes))],
])('a step of %s, simulated with the times of its ops, has every op when it was', (_, schedule) => {
  const stages = Array.from({ length: schedule.stages }, (_, stage) => ({
    forward: 2 + stage,
    inputGrad: 3,
    weightGrad: 2,
    backward: 4 + stage,
    // A stage of layers has it all still.
    recompute: stage === 0 ? 0 : 1.5,
    copy: 0.75 + stage / 4,
  }))
  const vocabulary = { lookup: 0.5, logits: 2, gradients: 3, lookupGrad: 0.25 }
  const costs = { forward: 0, inputGrad: 0, weightGrad: 0, copyHoldsDevice: true, stages, vocabulary }
  const executed = simulate(schedule, costs)
  const again = simulate(schedule, executedCosts(schedule, executed.ops.flat()))
  const timesOf = ({ ops }: Simulation) => ops.map(list => list.map(({ start, end }) => [start, end]))
  for (const [rank, times] of timesOf(again).entries()) {
    for (const [index, [start, end]] of times.entries()) {
      const [from = Number.NaN, to = Number.NaN] = timesOf(executed)[rank]?.[index] ?? []
      expect([start, end]).toEqual([expect.closeTo(from, 6), expect.closeTo(to, 6)])
    }
  }
})
