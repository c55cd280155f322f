import { messagesOver, scheduleOf, upTo } from './build.ts'
import { type Costs, isUnit } from './costs.ts'
import type { Family, Sizes } from './family.ts'
import { runGreedily } from './greedy.ts'
import { looped } from './placement.ts'
import type { ComputeOp } from './schedule.ts'

/**
 * Blocks of U microbatches, each breadth-first over v looped chunks with the backward split; weight gradients and the next block's
 * forwards fill what is idle. U is the knob: more of it is less bubble and fewer gathers of sharded weights, and holds more; a rank
 * holds at most 2U. Here U is p, or half of the cap given.
 */
export const zeroPP: Family = {
  name: 'zeropp',
  title: 'ZeroPP',
  paper:
    'Tang et al. 2024, ZeroPP: Unleashing Exceptional Parallelism Efficiency through Tensor-Parallelism-Free Methodology',
  chunks: 'any',
  takesCap: true,
  paperSays: {
    bubble: '0 without a barrier',
    peak: 'U to 2U',
    note: 'a greedy reading of the rule, which gathers sharded weights more often than 2v a block; the paper’s closed form was not at hand',
  },
  refuses({ microbatches, ranks, chunks, cap = 2 }) {
    if (cap < 2) return 'pass a cap of at least 2 activations: two blocks of one microbatch'
    return chunks > 1 && microbatches % ranks !== 0 ? `pass a multiple of ${ranks} microbatches` : undefined
  },
  generate(sizes) {
    const { ranks, chunks } = sizes
    const block = blockOf(sizes)
    const chunk = ({ stage }: ComputeOp) => Math.floor(stage / ranks)
    /** Weight gradients last; then block by block, forwards from the first chunk on, backwards from the last. */
    const order = (op: ComputeOp): readonly number[] => [
      Number(op.op === 'W'),
      Math.floor(op.microbatch / block),
      Number(op.op !== 'F'),
      op.op === 'F' ? chunk(op) : chunks - 1 - chunk(op),
      op.microbatch,
    ]
    const parts = {
      pipes: [looped(ranks, chunks)],
      promise: upTo(ranks).map(() => Math.min(2 * block, sizes.microbatches)),
    }
    const lists = runGreedily(scheduleOf('zeropp', sizes, { ...parts, lists: [] }), sizes.costs, {
      split: true,
      before(a, b) {
        const [left, right] = [order(a), order(b)]
        return left.map((value, i) => value - (right[i] as number)).find(difference => difference !== 0) ?? 0
      },
      // Of a block smaller than the pipe a place is kept for each deeper chunk: else the first chunks take all, and no rank can free any.
      mayStart: (op, held) => held < 2 * block * chunks - (block < ranks ? chunks - 1 - chunk(op) : 0),
    })
    return scheduleOf('zeropp', sizes, { ...parts, lists })
  },
  forms: {
    extra: (sizes, costs) =>
      isWhole(sizes, costs)
        ? ((sizes.ranks - 1) * (costs.forward + (sizes.microbatches === sizes.ranks ? costs.inputGrad : 0))) /
          sizes.chunks
        : undefined,
    steadyExtra: (sizes, costs) => (isWhole(sizes, costs) && sizes.microbatches > 2 * sizes.ranks ? 0 : undefined),
    messages: ({ ranks, microbatches, chunks }) => (ranks === 1 ? 0 : messagesOver(ranks * chunks - 1, microbatches)),
  },
}

function blockOf({ ranks, cap }: Sizes): number {
  return cap === undefined ? ranks : Math.floor(cap / 2)
}

/** Where the forms were found to hold. */
function isWhole({ chunks, cap, costs: planned }: Sizes, costs: Costs): boolean {
  return chunks >= 2 && cap === undefined && isUnit(costs) && isUnit(planned)
}
