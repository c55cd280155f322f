/** Largest absolute difference; Infinity when lengths differ or a value is NaN on one side only. */
export function maxAbsDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  let worst = 0
  for (let i = 0; i < a.length; i++) {
    const d = Math.abs((a[i] ?? 0) - (b[i] ?? 0))
    if (Number.isNaN(d)) return Number.POSITIVE_INFINITY
    if (d > worst) worst = d
  }
  return worst
}

/** ‖a-b‖ / ‖b‖ in float64; 0 when both are zero. */
export function relativeL2(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  let difference = 0
  let norm = 0
  for (let i = 0; i < a.length; i++) {
    difference += ((a[i] ?? 0) - (b[i] ?? 0)) ** 2
    norm += (b[i] ?? 0) ** 2
  }
  return norm === 0 ? Math.sqrt(difference) : Math.sqrt(difference / norm)
}
