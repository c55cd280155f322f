import { alternate, messagesOver, scheduleOf, upTo } from './build.ts'
import { workOf } from './costs.ts'
import type { Family } from './family.ts'
import { linear } from './placement.ts'
import type { ComputeOp } from './schedule.ts'

/**
 * 1F1B over pieces of the sequence: k slices a microbatch, forwards in rising order (a slice reads the keys and values of those
 * before it), backwards in falling order. p-2-r+k forwards before the first backward. A slice is a k-th of the activations, so
 * a ramp is a k-th too. `equalCostCuts` says where to cut; `offloadActivations` sends to the host what a slice has time for.
 */
export const sppo: Family = {
  name: 'sppo',
  title: 'SPPO (Seq1F1B)',
  paper:
    'Chen et al. 2025, SPPO: Efficient Long-sequence LLM Training via Adaptive Sequence Pipeline Parallel Offloading; the order of Sun et al. 2024, Seq1F1B',
  chunks: 1,
  slices: true,
  paperSays: {
    bubble: '(p-1)/(km+p-1), k slices',
    peak: '(p-1+k)/k',
    note: 'k is given, not solved for, and the pieces of one microbatch fill the ramp without being multiplexed',
  },
  generate(sizes) {
    const { ranks, microbatches, slices } = sizes
    const list = (rank: number) => {
      const pass = (op: ComputeOp['op'], order: readonly number[]) =>
        upTo(microbatches).flatMap(microbatch =>
          order.map((slice): ComputeOp => ({ op, stage: rank, microbatch, ...(slices > 1 ? { slice } : {}) })),
        )
      return alternate(pass('F', upTo(slices)), pass('BW', upTo(slices).toReversed()), ranks - 2 - rank + slices)
    }
    return scheduleOf('sppo', sizes, {
      pipes: [linear(ranks)],
      slices,
      lists: upTo(ranks).map(list),
      promise: upTo(ranks).map(rank => peakOf(sizes, rank)),
    })
  },
  forms: {
    extra: ({ ranks, slices }, costs) => ((ranks - 1) * workOf(costs)) / slices,
    steadyExtra: ({ ranks, slices }, costs) => ((ranks - 1) * workOf(costs)) / slices,
    peak: peakOf,
    messages: ({ ranks, microbatches, slices }) => messagesOver(ranks - 1, microbatches) * slices,
  },
}

type Some = { readonly ranks: number; readonly microbatches: number; readonly slices: number }

function peakOf({ ranks, microbatches, slices }: Some, rank: number): number {
  return Math.min(microbatches, (ranks - 1 - rank + slices) / slices)
}

/** Where slices begin and end, 0 to 1. */
export function equalLengthCuts(slices: number): readonly number[] {
  return upTo(slices + 1).map(cut => cut / slices)
}

/**
 * Cuts after which every slice takes as long: a causal slice at x reads x of the sequence, so up to x a pass takes
 * (1-a)x + ax², where a is the part of attention in it.
 */
export function equalCostCuts(slices: number, attention: number): readonly number[] {
  return upTo(slices + 1).map(cut => {
    const time = cut / slices
    if (attention === 0) return time
    const linearPart = 1 - attention
    return (Math.sqrt(linearPart ** 2 + 4 * attention * time) - linearPart) / (2 * attention)
  })
}

/** The parts of a pass's time that slices with such cuts take: `Costs.sliceParts`. */
export function slicePartsOf(cuts: readonly number[], attention: number): readonly number[] {
  const until = (x: number) => (1 - attention) * x + attention * x ** 2
  return cuts.slice(1).map((cut, i) => until(cut) - until(cuts[i] as number))
}
