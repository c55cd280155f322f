const numBuckets = 256

type Bucket = readonly (readonly [key: string, seat: number])[]
const noBuckets: readonly Bucket[] = Array.from({ length: numBuckets }, () => [])

/** Text → number, immutable: a change copies one bucket and the list of buckets, however many entries there are. */
export class SeatIndex {
  readonly #buckets: readonly Bucket[]

  constructor(buckets: readonly Bucket[] = noBuckets) {
    this.#buckets = buckets
  }

  get(key: string): number | undefined {
    for (const entry of this.#buckets[bucketOf(key)] ?? []) if (entry[0] === key) return entry[1]
    return undefined
  }

  with(key: string, seat: number): SeatIndex {
    return this.#changed(key, others => [...others, [key, seat]])
  }

  without(key: string): SeatIndex {
    return this.#changed(key, others => others)
  }

  #changed(key: string, change: (others: Bucket) => Bucket): SeatIndex {
    const at = bucketOf(key)
    const bucket = this.#buckets[at] ?? []
    const buckets = this.#buckets.slice()
    buckets[at] = change(bucket.filter(entry => entry[0] !== key))
    return new SeatIndex(buckets)
  }
}

/** FNV-1a, to the number of buckets. */
function bucketOf(key: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193)
  return (hash >>> 0) % numBuckets
}
