import { messagesOver, scheduleOf, upTo } from './build.ts'
import type { Costs } from './costs.ts'
import type { Family } from './family.ts'
import { wave } from './placement.ts'
import type { ComputeOp } from './schedule.ts'

/**
 * Two chunks on each rank, placed as a V, backward split. In capitals the passes of the chunk that comes first, small those of the
 * other; on rank r: F × 2(p-r)-1, fF × r, fbw × p-r, then F B W f b w until all forwards are placed, Bb × r, BW × p-r, the w and W left.
 * The loss is computed on rank 0, which also reads the input.
 */
export const zbV: Family = {
  name: 'zb-v',
  title: 'ZB-V',
  paper: 'Qi et al. 2023, Zero Bubble Pipeline Parallelism, section 6; the lists are those of the authors’ code',
  chunks: 2,
  paperSays: { bubble: '0 at equal costs, without a barrier', peak: 'p' },
  refuses: ({ ranks, microbatches }) =>
    microbatches < 2 * ranks - 1 ? `pass at least ${2 * ranks - 1} microbatches` : undefined,
  generate(sizes) {
    const { ranks, microbatches: m } = sizes
    const list = (rank: number) => {
      const out: ComputeOp[] = []
      const passes = { F: 0, f: 0, B: 0, b: 0, W: 0, w: 0 }
      const put = (names: string) => {
        for (const name of names as Iterable<keyof typeof passes>) {
          if (passes[name] === m) continue
          const op = name.toUpperCase() as 'F' | 'B' | 'W'
          out.push({ op, stage: name === op ? rank : 2 * ranks - 1 - rank, microbatch: passes[name]++ })
        }
      }
      put('F'.repeat(2 * (ranks - rank) - 1))
      put('fF'.repeat(rank))
      put('fbw'.repeat(ranks - rank))
      while (passes.F < m || passes.f < m) put('FBWfbw')
      put('Bb'.repeat(rank))
      put('BW'.repeat(ranks - rank))
      put('w'.repeat(m) + 'W'.repeat(m))
      return out
    }
    return scheduleOf('zb-v', sizes, {
      pipes: [wave(ranks, 2)],
      lists: upTo(ranks).map(list),
      promise: upTo(ranks).map(() => ranks),
    })
  },
  forms: {
    extra: ({ ranks }, costs) =>
      isOrdered(costs) ? (ranks - 1) * Math.max(costs.inputGrad / 2, costs.inputGrad - costs.weightGrad) : undefined,
    steadyExtra: ({ ranks }, costs) =>
      isOrdered(costs) ? (ranks - 1) * (costs.inputGrad - costs.weightGrad) : undefined,
    peak: ({ ranks }) => ranks,
    messages: ({ ranks, microbatches }) => messagesOver(2 * (ranks - 1), microbatches),
  },
}

/** Where the forms hold; outside the bubble is larger. */
function isOrdered({ forward, inputGrad, weightGrad }: Costs): boolean {
  return weightGrad <= forward && forward <= inputGrad
}
