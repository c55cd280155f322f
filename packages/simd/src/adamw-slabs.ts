import type { AdamwOptions } from './adamw-scalars.ts'
import type { Region } from './shared-arena.ts'
import type { Simd } from './simd.ts'

/** Parameters and AdamW moments of one instant, each float32 of the same length. */
export interface StateSlot {
  readonly params: Region
  /** First moment, torch's `exp_avg`. */
  readonly expAvg: Region
  /** Second moment, torch's `exp_avg_sq`. */
  readonly expAvgSq: Region
}

/** A run of elements that AdamW decays, or not. */
export interface Slab {
  readonly offset: number
  readonly elems: number
  readonly decay: boolean
}

/** `from` and `to` may be the same slot. */
export interface AdamwBuffers {
  readonly from: StateSlot
  readonly to: StateSlot
  readonly gradients: Region
}

/**
 * One AdamW step over elements [range.offset, range.offset + range.elems) of flat buffers, by slabs. Elementwise: an update made range by
 * range, in any order, has the bits of one that is made at once.
 */
export function adamwSlabs(
  simd: Simd,
  slabs: readonly Slab[],
  range: { readonly offset: number; readonly elems: number },
  { from, to, gradients }: AdamwBuffers,
  options: AdamwOptions,
): void {
  for (const slab of slabs) {
    const begin = Math.max(slab.offset, range.offset)
    const end = Math.min(slab.offset + slab.elems, range.offset + range.elems)
    if (begin >= end) continue
    const at = (region: Region) => region.byteOffset + begin * Float32Array.BYTES_PER_ELEMENT
    simd.adamw({
      ...options,
      p: at(from.params),
      m: at(from.expAvg),
      v: at(from.expAvgSq),
      g: at(gradients),
      pOut: at(to.params),
      mOut: at(to.expAvg),
      vOut: at(to.expAvgSq),
      n: end - begin,
      weightDecay: slab.decay ? options.weightDecay : 0,
    })
  }
}
