import { alternate, messagesOver, scheduleOf, upTo } from './build.ts'
import { workOf } from './costs.ts'
import type { Family } from './family.ts'
import { looped } from './placement.ts'
import type { ComputeOp } from './schedule.ts'

/**
 * v chunks on each rank, looped: p microbatches go through chunk 0, the same through chunk 1, and so on, then the next p. Backwards
 * the chunks in reverse. 2(p-1-r) + (v-1)p forwards before the first backward.
 *
 * The 2 buys only slack for hops; with 1 the bubble is the same while they cost nothing, with 3 the lists wait in a circle.
 */
export const interleaved: Family = {
  name: 'interleaved',
  title: 'Interleaved 1F1B',
  paper: 'Narayanan et al. 2021, Efficient Large-Scale Language Model Training on GPU Clusters (PTD-P), section 2.2.2',
  chunks: 'any',
  paperSays: { bubble: '(p-1)/(vm+p-1)', peak: 'p+(p-1)/v' },
  refuses: ({ ranks, microbatches, chunks }) =>
    chunks > 1 && microbatches % ranks !== 0 ? `pass a multiple of ${ranks} microbatches` : undefined,
  generate(sizes) {
    const { ranks, microbatches, chunks } = sizes
    /** Chunk and microbatch of the k-th piece of work of a rank. */
    const turn = (k: number) => ({
      chunk: Math.floor((k % (ranks * chunks)) / ranks),
      microbatch: Math.floor(k / (ranks * chunks)) * ranks + (k % ranks),
    })
    const inOrder = chunks === 1 ? (k: number) => ({ chunk: 0, microbatch: k }) : turn
    const list = (rank: number) => {
      const pass = (op: ComputeOp['op'], backwards: boolean) =>
        upTo(microbatches * chunks).map((k): ComputeOp => {
          const { chunk, microbatch } = inOrder(k)
          return { op, stage: (backwards ? chunks - 1 - chunk : chunk) * ranks + rank, microbatch }
        })
      return alternate(pass('F', false), pass('BW', true), warmUp(sizes, rank))
    }
    return scheduleOf('interleaved', sizes, {
      pipes: [looped(ranks, chunks)],
      lists: upTo(ranks).map(list),
      promise: upTo(ranks).map(rank => peakOf(sizes, rank)),
    })
  },
  forms: {
    extra: ({ ranks, chunks }, costs) => ((ranks - 1) * workOf(costs)) / chunks,
    steadyExtra: ({ ranks, chunks }, costs) => ((ranks - 1) * workOf(costs)) / chunks,
    peak: peakOf,
    messages: ({ ranks, microbatches, chunks }) => (ranks === 1 ? 0 : messagesOver(ranks * chunks - 1, microbatches)),
  },
}

type Some = { readonly ranks: number; readonly microbatches: number; readonly chunks: number }

function warmUp({ ranks, chunks }: Some, rank: number): number {
  return chunks === 1 ? ranks - 1 - rank : 2 * (ranks - 1 - rank) + (chunks - 1) * ranks
}

function peakOf(sizes: Some, rank: number): number {
  return Math.min(sizes.microbatches, (warmUp(sizes, rank) + 1) / sizes.chunks)
}
