/** Statistics that a few wild values do not move. All leave their input as it is; of nothing they are 0. */

export const sorted = (values: readonly number[]): readonly number[] => [...values].sort((a, b) => a - b)

/** Of values in ascending order; of an even number the mean of the two in the middle. */
export function medianOfSorted(ascending: readonly number[]): number {
  const half = ascending.length >> 1
  const upper = ascending[half] ?? 0
  return ascending.length % 2 === 1 ? upper : ((ascending[half - 1] ?? 0) + upper) / 2
}

export const median = (values: readonly number[]): number => medianOfSorted(sorted(values))

/** Each value's distance from the median of all the others. */
export function distancesFromOthers(values: readonly number[]): readonly number[] {
  const ascending = sorted(values)
  return values.map(value => {
    const others = ascending.toSpliced(ascending.indexOf(value), 1)
    return value - medianOfSorted(others)
  })
}

/** Mean without the lowest and the highest `fraction` of the values. */
export function trimmedMean(values: readonly number[], fraction: number): number {
  const cut = Math.floor(values.length * fraction)
  const kept = sorted(values).slice(cut, values.length - cut)
  return kept.reduce((sum, value) => sum + value, 0) / Math.max(1, kept.length)
}

/**
 * Standard deviation of the noise in a series, from the median of its steps from one value to the next: neither wild values nor
 * a lasting shift count. For normal noise |x - y| has the median 0.6745 √2 σ.
 */
export function noiseOf(series: readonly number[]): number {
  const steps = series.slice(1).map((value, i) => Math.abs(value - (series[i] as number)))
  return median(steps) / (0.6745 * Math.SQRT2)
}
