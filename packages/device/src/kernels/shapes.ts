import { formatShape, type Shape, SkeinError, sameShape } from '@skein/core'
import { DeviceErrors } from '../errors.ts'
import type { ProductOptions } from './kernels.ts'

/** Shapes of results, worked out in JavaScript: a wrong pass fails where it is written and not in the middle of a session. */

function refuse(op: string, shapes: readonly Shape[], why: string): never {
  throw new SkeinError(DeviceErrors.KERNEL_SHAPE, {
    what: `${op} was given ${shapes.map(formatShape).join(' and ')}`,
    why,
    todo: 'compare the shapes with the doc comment of this op in Kernels',
    details: { op, shapes },
  })
}

export function broadcastShape(op: string, a: Shape, b: Shape): Shape {
  if (sameShape(a, b)) return a
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1
    const y = b[i - rank + b.length] ?? 1
    if (x !== y && x !== 1 && y !== 1) refuse(op, [a, b], 'the dims from the right must be equal or 1')
    return x === 1 ? y : x
  })
}

export function productShape(op: string, a: Shape, b: Shape, options: ProductOptions = {}): Shape {
  const rank = a.length
  if (rank < 2 || b.length !== rank) refuse(op, [a, b], 'both operands need the same rank, at least 2')
  const [rows, inner] = lastTwo(a, options.transposeA)
  const [innerB, columns] = lastTwo(b, options.transposeB)
  const leading = a.slice(0, -2)
  if (inner !== innerB || !sameShape(leading, b.slice(0, -2))) {
    refuse(op, [a, b], `the inner dims ${inner} and ${innerB} and all dims before must be equal`)
  }
  return [...leading, rows, columns]
}

function lastTwo(shape: Shape, transposed = false): readonly [number, number] {
  const rows = shape.at(-2) as number
  const columns = shape.at(-1) as number
  return transposed ? [columns, rows] : [rows, columns]
}

export function biasShape(op: string, x: Shape, bias: Shape): Shape {
  if (x.length !== 2 || bias.length !== 1 || x[1] !== bias[0]) refuse(op, [x, bias], 'it takes [N,D] and [D]')
  return x
}

export function reshaped(x: Shape, shape: Shape): Shape {
  const count = (s: Shape) => s.reduce((n, size) => n * size, 1)
  if (count(x) !== count(shape)) refuse('reshape', [x, shape], 'both need the same number of elements')
  return shape
}

export function transposedShape(x: Shape, permutation: readonly number[]): Shape {
  if (permutation.length !== x.length) refuse('transpose', [x, permutation], 'the permutation needs an entry per dim')
  return permutation.map(dim => x[dim] ?? refuse('transpose', [x, permutation], `there is no dim ${dim}`))
}

const withDim = (shape: Shape, dim: number, size: number) => shape.map((old, i) => (i === dim ? size : old))

export function joinedShape(parts: readonly Shape[], dim: number): Shape {
  const [first] = parts
  if (first === undefined || first[dim] === undefined) refuse('concat', parts, `there is no dim ${dim}`)
  const length = parts.reduce((sum, part) => sum + (part[dim] ?? 0), 0)
  const joined = withDim(first, dim, length)
  if (parts.every(part => sameShape(withDim(part, dim, length), joined))) return joined
  return refuse('concat', parts, `all dims but ${dim} must be equal`)
}

export function splitShapes(x: Shape, lengths: readonly number[], dim: number): Shape[] {
  const total = lengths.reduce((sum, length) => sum + length, 0)
  if (x[dim] !== total) refuse('split', [x, lengths], `the lengths must fill dim ${dim}`)
  return lengths.map(length => withDim(x, dim, length))
}

/** […,D] → […,1]. */
export function rowShape(x: Shape): Shape {
  return [...x.slice(0, -1), 1]
}

/** The length of a matrix's rows: D of [N,D]. */
export function columnsOf(op: string, x: Shape): number {
  if (x.length !== 2) refuse(op, [x], 'it takes a matrix')
  return x[1] as number
}
