import type { AdamwOptions } from '@skein/simd'
import type { Chunk } from './chunks.ts'

/** A committed step and the digest of the parameters after it, as the log has it. */
export interface Standing {
  readonly step: number
  readonly digest: string
}

/** One chunk nearer to the newest commit. */
export type ChunkAnswer =
  /** Parameters, first and second moments after `step`: float32 [3 × chunk.elems]. */
  | { readonly kind: 'state'; readonly step: number; readonly values: Float32Array<ArrayBuffer> }
  /** Gradient sums of the step after the one that is had, float32 [chunk.elems], and the scalars of its update. */
  | { readonly kind: 'update'; readonly options: AdamwOptions; readonly values: Float32Array<ArrayBuffer> }

/** A part of a mirrored step, of which a peer keeps a copy. */
export interface CopyPlace {
  readonly part: number
  readonly step: number
}

/** What a peer says of such a copy; `totalElems`: of each of its flat buffers. */
export interface CopyStanding extends Standing {
  readonly totalElems: number
}

/** A peer that keeps a copy: of that step, and no other. @throws as a `StateSource`, SKEIN_CATCHUP_REFUSED also where it has no such copy (yet, or any more) */
export interface CopySource extends StateSource {
  standing(have: undefined, signal: AbortSignal): Promise<CopyStanding>
}

/** A peer that holds the state, as its followers see it. */
export interface StateSource {
  /** For messages. */
  readonly name: string
  /** The newest commit that the peer holds, as soon as it is another than `have`, or as it is after about a second. @throws a SkeinError */
  standing(have: number | undefined, signal: AbortSignal): Promise<Standing>
  /**
   * One chunk, of which the state after `have` is had; undefined: of none. Its values are the source's, to be used before it is asked again.
   * @throws a SkeinError, SKEIN_CATCHUP_REFUSED also where nothing newer is committed within about a second
   */
  chunk(chunk: Chunk, have: number | undefined, signal: AbortSignal): Promise<ChunkAnswer>
}
