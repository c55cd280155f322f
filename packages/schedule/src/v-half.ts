import { messagesOver } from './build.ts'
import { fromBuildingBlock } from './building-block.ts'
import { type Costs, isUnit } from './costs.ts'
import type { Family, Sizes } from './family.ts'

/** About half the memory of 1F1B: forwards go down the V at half speed, backwards up at half speed. */
export const vHalf: Family = {
  name: 'v-half',
  title: 'V-Half',
  paper: 'Qi et al. 2024, Pipeline Parallelism with Controllable Memory, section 3',
  chunks: 2,
  paperSays: { bubble: '≈ p/2 · T', peak: '⌊(p+2)/2⌋' },
  generate(sizes) {
    const { ranks: p } = sizes
    const gap = p % 2 === 0 ? 3 : 0
    const slots = (i: number) => ({ F: 2 * i, f: 3 * p - 2 - i, b: 3 * p - 1 + gap + 2 * i, B: 6 * p - 2 + gap - i })
    return fromBuildingBlock('v-half', sizes, slots, peak(sizes))
  },
  forms: {
    extra,
    steadyExtra: extra,
    mostHeld: sizes => (sizes.microbatches >= 2 * sizes.ranks ? peak(sizes) : undefined),
    messages: ({ ranks, microbatches }) => messagesOver(2 * (ranks - 1), microbatches),
  },
}

function peak({ ranks, microbatches }: { readonly ranks: number; readonly microbatches: number }): number {
  return Math.min(microbatches, Math.floor((ranks + 2) / 2))
}

/** Measured, not the paper's, which gives about 1.5p: ours moves passes of warm-up and cool-down once more. */
function extra({ ranks: p, microbatches }: Sizes, costs: Costs): number | undefined {
  if (p < 3 || microbatches < 2 * p || !isUnit(costs)) return undefined
  return 1.5 * p - (p % 2 === 0 ? 3.5 : 2)
}
