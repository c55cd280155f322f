import { alternate, eachMicrobatch, messagesOver, scheduleOf, upTo } from './build.ts'
import { workOf } from './costs.ts'
import type { Family, Sizes } from './family.ts'
import { linear } from './placement.ts'
import type { Schedule } from './schedule.ts'

/** The rule with a given number of forwards before the first backward. */
function withWarmUp(name: string, sizes: Sizes, warmUp: (rank: number) => number): Schedule {
  const { ranks, microbatches: m } = sizes
  return scheduleOf(name, sizes, {
    pipes: [linear(ranks)],
    lists: upTo(ranks).map(rank =>
      alternate(eachMicrobatch('F', rank, m), eachMicrobatch('BW', rank, m), warmUp(rank)),
    ),
    promise: upTo(ranks).map(rank => Math.min(m, warmUp(rank) + 1)),
  })
}

/** p-1-r forwards on rank r, then one forward and one backward in turn: as quick as GPipe, and holds at most p microbatches. */
export const oneFOneB: Family = {
  name: '1f1b',
  title: '1F1B',
  paper:
    'Narayanan et al. 2021, Memory-Efficient Pipeline-Parallel DNN Training (PipeDream-Flush), section 3.2; Fan et al. 2021, DAPPLE',
  chunks: 1,
  paperSays: { bubble: '(p-1)/(m+p-1)', peak: 'p-r on rank r' },
  generate: sizes => withWarmUp('1f1b', sizes, rank => sizes.ranks - 1 - rank),
  forms: {
    extra: ({ ranks }, costs) => (ranks - 1) * workOf(costs),
    steadyExtra: ({ ranks }, costs) => (ranks - 1) * workOf(costs),
    peak: ({ ranks, microbatches }, rank) => Math.min(microbatches, ranks - rank),
    messages: ({ ranks, microbatches }) => messagesOver(ranks - 1, microbatches),
  },
}

/** Twice the forwards before the first backward, so that a hop is waited for beside other work; holds up to 2p-1. */
export const eagerOneFOneB: Family = {
  name: 'eager-1f1b',
  title: 'Eager 1F1B',
  paper: 'Zhuang et al. 2023, On Optimizing the Communication of Model Parallelism (eager-1F1B)',
  chunks: 1,
  paperSays: { bubble: '(p-1)/(m+p-1)', peak: '2(p-r)-1 on rank r' },
  generate: sizes => withWarmUp('eager-1f1b', sizes, rank => 2 * (sizes.ranks - 1 - rank)),
  forms: {
    extra: ({ ranks }, costs) => (ranks - 1) * workOf(costs),
    steadyExtra: ({ ranks }, costs) => (ranks - 1) * workOf(costs),
    peak: ({ ranks, microbatches }, rank) => Math.min(microbatches, 2 * (ranks - rank) - 1),
    messages: ({ ranks, microbatches }) => messagesOver(ranks - 1, microbatches),
  },
}
