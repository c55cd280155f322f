import type { Collectives, OpResult } from '@skein/collective'
import type { FlatLayout } from '@skein/model'
import type { Region } from '@skein/simd'
import type { SharedBucket } from './shared-buckets.ts'

export interface BucketReducerOptions {
  readonly layout: FlatLayout
  /** Those of the layout. */
  readonly buckets: readonly SharedBucket[]
  /** Stages of this rank. */
  readonly stages: readonly number[]
  /** float32 [layout.totalElems] in the shared memory of the groups. */
  readonly gradients: Region
  /** By number; not needed for buckets that one rank has alone. */
  readonly groups: ReadonlyMap<number, Pick<Collectives, 'allReduce'>>
}

/**
 * Sums the buckets of gradients over their copies, each as soon as all stages of this rank have added to it. Groups want their ops in one
 * order on all ranks, and ranks come to an end of their stages in different orders: so the buckets of one group go by falling stage, and one
 * that is complete early waits for those before it.
 */
export class BucketReducer {
  readonly #options: BucketReducerOptions
  /** Per group the buckets that are still to be issued, in its order. */
  readonly #queues = new Map<number, SharedBucket[]>()
  readonly #open = new Map<SharedBucket, Set<number>>()
  readonly #reductions: Promise<OpResult>[] = []

  constructor(options: BucketReducerOptions) {
    this.#options = options
    const own = new Set(options.stages)
    for (const bucket of options.buckets) {
      if (bucket.ranks.length === 1) continue
      this.#open.set(bucket, new Set(bucket.stages.filter(stage => own.has(stage))))
      const queue = this.#queues.get(bucket.groupNumber) ?? []
      this.#queues.set(bucket.groupNumber, queue)
      queue.push(bucket)
    }
    for (const queue of this.#queues.values()) queue.sort(byFallingStages)
  }

  /** All gradients of a stage are in the buffer. */
  stageDone(stage: number): void {
    for (const [bucket, open] of this.#open) {
      if (open.delete(stage) && open.size === 0) this.#issue(bucket.groupNumber)
    }
  }

  /** The results of all, in the order in which they began. @throws what a reduction failed with */
  settled(): Promise<OpResult[]> {
    return Promise.all(this.#reductions)
  }

  #issue(groupNumber: number): void {
    const queue = this.#queues.get(groupNumber) ?? []
    const { layout, gradients, groups } = this.#options
    for (let bucket = queue[0]; bucket !== undefined && this.#open.get(bucket)?.size === 0; bucket = queue[0]) {
      queue.shift()
      const { offset, elems } = layout.buckets[bucket.index] as { offset: number; elems: number }
      const group = groups.get(groupNumber)
      if (group === undefined) throw new Error(`there is no group ${groupNumber} for ranks ${bucket.ranks.join(', ')}`)
      const region = { byteOffset: gradients.byteOffset + offset * 4, elems, dtype: 'float32' } as const
      const reduction = group.allReduce(region)
      // Awaited in `settled`; until then a failure must not count as unhandled.
      reduction.catch(() => undefined)
      this.#reductions.push(reduction)
    }
  }
}

/** By the last stage, falling; where that is one, a bucket of several stages comes after: it is complete later. */
function byFallingStages(a: SharedBucket, b: SharedBucket): number {
  return (b.stages.at(-1) as number) - (a.stages.at(-1) as number) || a.stages.length - b.stages.length
}
