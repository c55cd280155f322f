import { alternate, eachMicrobatch, messagesOver, scheduleOf, upTo } from './build.ts'
import { workOf } from './costs.ts'
import type { Family } from './family.ts'
import { looped } from './placement.ts'

/**
 * v chunks on each rank, looped; every microbatch through chunk 0, then every one through chunk 1, …; backwards the same in
 * reverse. Holds all microbatches, and gathers sharded weights least: once for the forwards and once for the backwards of a chunk
 * (`shardWeights`).
 */
export const breadthFirst: Family = {
  name: 'breadth-first',
  title: 'Breadth-first',
  paper: 'Lamy-Poirier 2023, Breadth-First Pipeline Parallelism, section 4',
  chunks: 'any',
  paperSays: { bubble: '(p-1)/(vm+p-1)', peak: 'm' },
  refuses: ({ ranks, microbatches, chunks }) =>
    chunks > 1 && microbatches < ranks ? `pass at least ${ranks} microbatches` : undefined,
  generate(sizes) {
    const { ranks, microbatches: m, chunks } = sizes
    const list = (rank: number) => {
      const stages = upTo(chunks).map(chunk => chunk * ranks + rank)
      const forwards = stages.flatMap(stage => eachMicrobatch('F', stage, m))
      const backwards = stages.toReversed().flatMap(stage => eachMicrobatch('BW', stage, m))
      return alternate(forwards, backwards, m * chunks)
    }
    return scheduleOf('breadth-first', sizes, {
      pipes: [looped(ranks, chunks)],
      lists: upTo(ranks).map(list),
      promise: upTo(ranks).map(() => m),
    })
  },
  forms: {
    extra: ({ ranks, chunks }, costs) => ((ranks - 1) * workOf(costs)) / chunks,
    steadyExtra: ({ ranks, chunks }, costs) => ((ranks - 1) * workOf(costs)) / chunks,
    peak: ({ microbatches }) => microbatches,
    messages: ({ ranks, microbatches, chunks }) => (ranks === 1 ? 0 : messagesOver(ranks * chunks - 1, microbatches)),
  },
}
