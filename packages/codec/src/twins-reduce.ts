import { assertNever } from '@skein/core'
import type { ReduceDType, ReduceOp, ScaleDType } from './reduce.ts'
import { bfloat16, float16, type HalfFormat, narrowTwin, widenTwin } from './twins-halves.ts'

/** The array that holds a type's elements as they lie in memory; float16 and bfloat16 as their bits. */
export interface ElementArrays {
  readonly float32: Float32Array
  readonly int32: Int32Array
  readonly float16: Uint16Array
  readonly bfloat16: Uint16Array
}

const formats: { readonly [Type in ReduceDType]?: HalfFormat } = { float16, bfloat16 }

function combine(op: ReduceOp, a: number, b: number): number {
  switch (op) {
    case 'sum':
      return a + b
    case 'min':
      return Math.min(a, b)
    case 'max':
      return Math.max(a, b)
    default:
      return assertNever(op, 'reduceTwin')
  }
}

/**
 * dst[i] = op(dst[i], src[i]). min and max of NaN and anything are NaN, -0 is below +0; int32 sums wrap. float16 and bfloat16 are
 * computed in float32 and rounded to nearest even once, which is the correctly rounded sum: 24 bits ≥ 2 · 11 + 2 (Figueroa 1995).
 */
export function reduceTwin<Type extends ReduceDType>(
  op: ReduceOp,
  dtype: Type,
  dst: ElementArrays[Type],
  src: ElementArrays[Type],
): void {
  const format = formats[dtype]
  for (let i = 0; i < dst.length; i++) {
    const [a, b] = [dst[i] as number, src[i] as number]
    dst[i] =
      format === undefined
        ? combine(op, a, b)
        : narrowTwin(Math.fround(combine(op, widenTwin(a, format), widenTwin(b, format))), format)
  }
}

/** dst[i] *= factor, in float32; float16 and bfloat16 are then rounded to nearest even. */
export function scaleElementsTwin<Type extends ScaleDType>(
  dtype: Type,
  dst: ElementArrays[Type],
  factor: number,
): void {
  const format = formats[dtype]
  const single = Math.fround(factor)
  for (let i = 0; i < dst.length; i++) {
    const x = dst[i] as number
    dst[i] = format === undefined ? x * single : narrowTwin(Math.fround(widenTwin(x, format) * single), format)
  }
}
