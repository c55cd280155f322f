/** Element types that tensors, frames and files share. */
export type DType = 'float32' | 'int32' | 'bfloat16' | 'float16' | 'uint8'

export const dtypeBytes: Readonly<Record<DType, number>> = { float32: 4, int32: 4, bfloat16: 2, float16: 2, uint8: 1 }

/** Sizes of a tensor's dims, outermost first; [] is a scalar. */
export type Shape = readonly number[]

/** Number of elements of a tensor of this shape; 1 for a scalar. */
export function numElements(shape: Shape): number {
  let n = 1
  for (const size of shape) n *= size
  return n
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i])
}

/** `[2,3]` as "2×3"; a scalar as "scalar". For messages. */
export function formatShape(shape: Shape): string {
  return shape.length === 0 ? 'scalar' : shape.join('×')
}
