import { SkeinError } from '@skein/core'
import { partition } from '@skein/planner'
import { ModelErrors } from '../errors.ts'
import type { Gpt2Config, SegmentRange } from './config.ts'
import { gpt2UnitFlops } from './flops.ts'

/** What a stage is made of, under the names of Hugging Face: the embedding, each block, the head (final norm, logits and loss). */
export function gpt2Units(config: Gpt2Config): string[] {
  return [
    'transformer.wte',
    ...Array.from({ length: config.layers }, (_, block) => `transformer.h.${block}`),
    'transformer.ln_f',
  ]
}

/**
 * Units of each stage where nothing was measured and no cuts were asked for: as even as can be by operations. With a sharded vocabulary the
 * embedding and the head take nothing of their stages' time.
 * @throws SKEIN_PLANNER_TOO_MANY_STAGES
 */
export function gpt2Cuts(
  config: Gpt2Config,
  numStages: number,
  { vocabulary }: { readonly vocabulary?: 'whole' | 'sharded' } = {},
): readonly number[] {
  const flops = gpt2UnitFlops(config)
  const isElsewhere = (unit: number) => vocabulary === 'sharded' && (unit === 0 || unit === flops.length - 1)
  return partition(
    flops.map((own, unit) => (isElsewhere(unit) ? 0 : own)),
    numStages,
  )
}

/** Stages of so many units each, from the embedding on. @throws SKEIN_MODEL_CUT */
export function gpt2StageRanges(config: Gpt2Config, cuts: readonly number[]): SegmentRange[] {
  const numUnits = config.layers + 2
  const total = cuts.reduce((sum, units) => sum + units, 0)
  if (total !== numUnits || cuts.some(units => !Number.isSafeInteger(units) || units < 1)) {
    throw new SkeinError(ModelErrors.CUT, {
      what: `a GPT-2 of ${numUnits} units was to be cut in stages of ${cuts.join(', ') || 'none'}`,
      why: `each stage has one unit at least (the embedding, one of ${config.layers} blocks, or the head), and all of them together all units`,
      todo: `give the units of each stage, whole numbers above 0 whose sum is ${numUnits}`,
      details: { cuts, numUnits },
    })
  }
  let start = 0
  return cuts.map((units, index) => {
    const end = start + units
    const range = {
      index,
      from: Math.max(0, start - 1),
      to: Math.min(config.layers, end - 1),
      isFirst: start === 0,
      isLast: end === numUnits,
    }
    start = end
    return range
  })
}
