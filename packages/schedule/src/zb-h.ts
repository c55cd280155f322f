import { alternate, eachMicrobatch, messagesOver, scheduleOf, upTo } from './build.ts'
import type { Costs } from './costs.ts'
import type { Family, Sizes } from './family.ts'
import { linear } from './placement.ts'
import type { Schedule } from './schedule.ts'
import { withLag } from './split-backward.ts'

const paper = 'Qi et al. 2023, Zero Bubble Pipeline Parallelism, section 2'

function handmade(
  name: string,
  sizes: Sizes,
  warmUp: (rank: number) => number,
  lag: (rank: number) => number,
): Schedule {
  const { ranks, microbatches: m } = sizes
  return scheduleOf(name, sizes, {
    pipes: [linear(ranks)],
    lists: upTo(ranks).map(rank =>
      withLag(alternate(eachMicrobatch('F', rank, m), eachMicrobatch('BW', rank, m), warmUp(rank)), lag(rank)),
    ),
    promise: upTo(ranks).map(rank => Math.min(m, warmUp(rank) + 1 + lag(rank))),
  })
}

/** The order of 1F1B with the backward split; on rank r the weight gradients run r microbatches behind. */
export const zbH1: Family = {
  name: 'zb-h1',
  title: 'ZB-H1',
  paper: `${paper}.1`,
  chunks: 1,
  paperSays: { bubble: '(p-1)(tF+tB-tW)', peak: 'p' },
  generate: sizes =>
    handmade(
      'zb-h1',
      sizes,
      rank => sizes.ranks - 1 - rank,
      rank => rank,
    ),
  forms: {
    extra: ({ ranks, microbatches }, costs) =>
      isEven(costs) && microbatches >= ranks ? (ranks - 1) * h1(costs) : undefined,
    steadyExtra: ({ ranks, microbatches }, costs) =>
      isEven(costs) && microbatches >= ranks ? (ranks - 1) * h1(costs) : undefined,
    peak: ({ ranks, microbatches }) => (microbatches >= ranks ? ranks : undefined),
    messages: ({ ranks, microbatches }) => messagesOver(ranks - 1, microbatches),
  },
}

/** Twice the forwards before the first backward and twice the lag: lists whose ends are as askew as their beginnings. */
export const zbH2: Family = {
  name: 'zb-h2',
  title: 'ZB-H2',
  paper: `${paper}.2`,
  chunks: 1,
  paperSays: { bubble: '(p-1)(tF+tB-2tW), 0 at equal costs, without a barrier', peak: '2p-1' },
  refuses: ({ ranks, microbatches }) =>
    microbatches < 2 * ranks - 1 ? `pass at least ${2 * ranks - 1} microbatches` : undefined,
  generate: sizes =>
    handmade(
      'zb-h2',
      sizes,
      rank => 2 * (sizes.ranks - 1 - rank),
      rank => 2 * rank,
    ),
  forms: {
    extra: ({ ranks }, costs) =>
      costs.weightGrad <= costs.forward ? (ranks - 1) * Math.max(costs.forward, h2(costs)) : undefined,
    steadyExtra: ({ ranks }, costs) =>
      costs.weightGrad <= costs.forward ? (ranks - 1) * Math.max(0, h2(costs)) : undefined,
    peak: ({ ranks }) => 2 * ranks - 1,
    messages: ({ ranks, microbatches }) => messagesOver(ranks - 1, microbatches),
  },
}

/** Where the forms of ZB-H1 hold: a weight gradient that takes longer than what it is to fill in for makes others wait. */
function isEven({ forward, inputGrad, weightGrad }: Costs): boolean {
  return weightGrad <= forward && weightGrad <= inputGrad
}

const h1 = ({ forward, inputGrad, weightGrad }: Costs) => forward + inputGrad - weightGrad
const h2 = ({ forward, inputGrad, weightGrad }: Costs) => forward + inputGrad - 2 * weightGrad
