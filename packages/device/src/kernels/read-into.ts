/** Stores `values` into `out`, or adds them to it; both of the same length. */
export function copyInto(values: Float32Array | Int32Array, out: Float32Array, accumulate: boolean): void {
  if (!accumulate) {
    out.set(values)
    return
  }
  for (let i = 0; i < out.length; i++) out[i] = (out[i] as number) + (values[i] as number)
}
