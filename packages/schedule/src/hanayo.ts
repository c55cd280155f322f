import { messagesOver, scheduleOf, upTo } from './build.ts'
import { isUnit } from './costs.ts'
import type { Family } from './family.ts'
import { runGreedily } from './greedy.ts'
import { wave } from './placement.ts'

/**
 * Waves: stages go down the ranks and up again, so that what turns stays where it is and neighbours alone talk; one copy of the
 * weights. A rank takes a backward that is ready, else the forward of the deepest stage, and holds at most p
 * microbatches.
 */
export const hanayo: Family = {
  name: 'hanayo',
  title: 'Hanayo',
  paper:
    'Liu et al. 2023, Hanayo: Harnessing Wave-like Pipeline Parallelism for Enhanced Large Model Training Efficiency',
  chunks: 'any',
  paperSays: {
    bubble: '(2p-2)/(3pw+p-1) at m=p, second hand',
    peak: 'p',
    note: 'the paper’s form was not at hand: ours is (2p-2)/(3p+2p-2) at one wave, and is for m=p',
  },
  refuses: ({ ranks, chunks }) =>
    ranks > 1 && chunks % 2 !== 0 ? 'pass an even number of chunks: two make a wave' : undefined,
  generate(sizes) {
    const { ranks, chunks } = sizes
    const parts = { pipes: [wave(ranks, chunks)], promise: upTo(ranks).map(() => Math.min(ranks, sizes.microbatches)) }
    const lists = runGreedily(scheduleOf('hanayo', sizes, { ...parts, lists: [] }), sizes.costs, {
      split: false,
      before: (a, b) =>
        Number(a.op === 'F') - Number(b.op === 'F') ||
        (a.op === 'F'
          ? b.stage - a.stage || a.microbatch - b.microbatch
          : a.microbatch - b.microbatch || b.stage - a.stage),
      // A place is kept for each deeper chunk: else the first chunks take all, and every rank waits for another to free some.
      mayStart: ({ stage }, held) => held < ranks * chunks - (chunks - 1 - Math.floor(stage / ranks)),
    })
    return scheduleOf('hanayo', sizes, { ...parts, lists })
  },
  forms: {
    extra: ({ ranks, microbatches, chunks, costs }) =>
      chunks === 2 && microbatches === ranks && isUnit(costs) ? 2 * (ranks - 1) : undefined,
    messages: ({ ranks, microbatches, chunks }) => messagesOver(chunks * (ranks - 1), microbatches),
  },
}
