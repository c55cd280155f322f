import { alternate, eachMicrobatch, messagesOver, scheduleOf, upTo } from './build.ts'
import { workOf } from './costs.ts'
import type { Family } from './family.ts'
import { linear } from './placement.ts'

/** All forwards, then all backwards, in the same order of microbatches. */
export const gpipe: Family = {
  name: 'gpipe',
  title: 'GPipe',
  paper: 'Huang et al. 2019, GPipe, section 2.2; the authors run the backwards in the other order, which takes as long',
  chunks: 1,
  paperSays: { bubble: '(p-1)/(m+p-1)', peak: 'm' },
  generate(sizes) {
    const { ranks, microbatches: m } = sizes
    return scheduleOf('gpipe', sizes, {
      pipes: [linear(ranks)],
      lists: upTo(ranks).map(rank => alternate(eachMicrobatch('F', rank, m), eachMicrobatch('BW', rank, m), m)),
      promise: upTo(ranks).map(() => m),
    })
  },
  forms: {
    extra: ({ ranks }, costs) => (ranks - 1) * workOf(costs),
    steadyExtra: ({ ranks }, costs) => (ranks - 1) * workOf(costs),
    peak: ({ microbatches }) => microbatches,
    messages: ({ ranks, microbatches }) => messagesOver(ranks - 1, microbatches),
  },
}
