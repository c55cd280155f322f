import { messagesOver } from './build.ts'
import { fromBuildingBlock } from './building-block.ts'
import { type Costs, isUnit } from './costs.ts'
import type { Family, Sizes } from './family.ts'

/**
 * About a third of the memory of 1F1B: every pass follows the one before it at once. There is no slack in such a block: unequal
 * costs or slow hops cost it more than any other.
 */
export const vMin: Family = {
  name: 'v-min',
  title: 'V-Min',
  paper: 'Qi et al. 2024, Pipeline Parallelism with Controllable Memory, section 3',
  chunks: 2,
  paperSays: { bubble: '≈ 2p/3 · T', peak: '⌊(p+4)/3⌋' },
  generate(sizes) {
    const { ranks: p } = sizes
    const gap = p % 3 === 0 ? 2 : 0
    const slots = (i: number) => ({ F: i, f: 2 * p - 1 - i, b: 2 * p + gap + i, B: 4 * p + gap - 1 - i })
    return fromBuildingBlock('v-min', sizes, slots, peak(sizes))
  },
  forms: {
    extra,
    steadyExtra: extra,
    mostHeld: sizes => (sizes.ranks >= 3 && sizes.microbatches >= 2 * sizes.ranks ? peak(sizes) : undefined),
    messages: ({ ranks, microbatches }) => messagesOver(2 * (ranks - 1), microbatches),
  },
}

function peak({ ranks, microbatches }: { readonly ranks: number; readonly microbatches: number }): number {
  return Math.min(microbatches, Math.floor((ranks + 4) / 3))
}

/** Measured; the paper gives about 2p. */
function extra({ ranks: p, microbatches }: Sizes, costs: Costs): number | undefined {
  if (p < 3 || microbatches < 2 * p || !isUnit(costs)) return undefined
  return 2 * p - (p % 3 === 0 ? 3 : 2.5)
}
