import { type Clock, systemClock } from '@skein/core'
import { wrongArgument } from './check-group.ts'
import type { Group } from './group.ts'
import { regionBytes, type TensorRegion } from './region.ts'

export interface TuneOptions {
  readonly group: Group
  /** float32 memory of the caller's, free for the time of the call: as large as the largest of `sizes`, and 16 elements at least. */
  readonly region: TensorRegion
  readonly view: Float32Array
  /** Bytes of the all-reduces to come. */
  readonly sizes: readonly number[]
  readonly clock?: Clock
}

/** What was found for one size, the same on all ranks. */
export interface Tuned {
  readonly bytes: number
  readonly algorithm: string
  /** Of each algorithm that was tried: the median time of its slowest rank. */
  readonly triedMs: Readonly<Record<string, number>>
}

/** Algorithms that are predicted to take at most this many times as long as the quickest are tried. */
const worthTrying = 1.6
const mostTried = 4
const rounds = 5

/**
 * Tries, for each size, the algorithms that the closed forms put in front, and makes the group use the one that was quickest. The
 * forms know latency and bandwidth, not how flows of one network hurt each other. To be called by all ranks at the same place
 * among their ops; takes about twenty all-reduces a size. @throws SKEIN_COLLECTIVE_ARGUMENT where the region is too small for them
 */
export async function tuneAllReduce(options: TuneOptions): Promise<readonly Tuned[]> {
  const { group, region, view, sizes, clock = systemClock } = options
  const found: Tuned[] = []
  const needed = Math.max(64, ...sizes)
  if (regionBytes(region) < needed || view.byteLength < needed) {
    const what = `all-reduces of up to ${needed} B were to be tried in ${Math.min(regionBytes(region), view.byteLength)} B`
    throw wrongArgument(what, { sizes, bytes: regionBytes(region) })
  }
  for (const bytes of sizes) {
    const part: TensorRegion = { ...region, elems: Math.floor(bytes / 4) }
    const candidates = candidatesFor(group, bytes)
    const times: number[] = []
    for (const algorithm of candidates) {
      const ofAlgorithm: number[] = []
      // The first is for connections that have been idle, and plans that are new.
      for (let round = 0; round <= rounds; round++) {
        const startMs = clock.now()
        await group.allReduce(part, { algorithm })
        if (round > 0) ofAlgorithm.push(clock.now() - startMs)
      }
      times.push(ofAlgorithm.sort((a, b) => a - b)[rounds >> 1] as number)
    }
    view.set(times)
    await group.allReduce({ ...region, elems: times.length }, { algorithm: 'star', op: 'max' })
    const slowest = Array.from(view.subarray(0, times.length))
    const best = slowest.indexOf(Math.min(...slowest))
    const algorithm = candidates[best] as string
    group.prefer(bytes, algorithm)
    found.push({
      bytes,
      algorithm,
      triedMs: Object.fromEntries(candidates.map((name, i) => [name, slowest[i] as number])),
    })
  }
  view.fill(0)
  return found
}

function candidatesFor(group: Group, bytes: number): readonly string[] {
  const ranked = group.rankAllReduce(bytes)
  const best = ranked[0]?.predictedMs ?? 0
  return ranked
    .filter(({ predictedMs }) => predictedMs <= worthTrying * best)
    .slice(0, mostTried)
    .map(({ algorithm }) => algorithm)
}
