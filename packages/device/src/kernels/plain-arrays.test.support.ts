import { numElements, type Shape } from '@skein/core'

/** The ops of `Kernels` on plain arrays in float64, written for reading and not for speed: the oracle of the kernels tests. */
export interface Plain {
  readonly shape: Shape
  readonly data: readonly number[]
}

const stridesOf = (shape: Shape) => shape.map((_, i) => numElements(shape.slice(i + 1)))

/** Builds an array by computing each element from its index. */
export function build(shape: Shape, element: (index: number[]) => number): Plain {
  const strides = stridesOf(shape)
  const data = Array.from({ length: numElements(shape) }, (_, flat) =>
    element(shape.map((size, i) => Math.floor(flat / (strides[i] as number)) % size)),
  )
  return { shape, data }
}

/** The element at `index`, broadcasting: missing leading dims are dropped, dims of size 1 repeat. */
export function at(x: Plain, index: readonly number[]): number {
  const own = index.slice(index.length - x.shape.length)
  const strides = stridesOf(x.shape)
  const flat = own.reduce((sum, i, dim) => sum + (x.shape[dim] === 1 ? 0 : i) * (strides[dim] as number), 0)
  return x.data[flat] as number
}

export function elementwise(f: (...values: number[]) => number, ...operands: readonly Plain[]): Plain {
  const rank = Math.max(...operands.map(x => x.shape.length))
  const shape = Array.from({ length: rank }, (_, i) =>
    Math.max(...operands.map(x => x.shape[i - rank + x.shape.length] ?? 1)),
  )
  return build(shape, index => f(...operands.map(x => at(x, index))))
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i)
const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)

export function product(a: Plain, b: Plain, transposeA: boolean, transposeB: boolean): Plain {
  const read = (x: Plain, leading: readonly number[], row: number, column: number, transposed: boolean) =>
    at(x, transposed ? [...leading, column, row] : [...leading, row, column])
  const [rows, inner] = transposeA ? [a.shape.at(-1), a.shape.at(-2)] : [a.shape.at(-2), a.shape.at(-1)]
  const columns = transposeB ? b.shape.at(-2) : b.shape.at(-1)
  return build([...a.shape.slice(0, -2), rows as number, columns as number], index => {
    const leading = index.slice(0, -2)
    const [i, j] = index.slice(-2) as [number, number]
    return sum(range(inner as number).map(k => read(a, leading, i, k, transposeA) * read(b, leading, k, j, transposeB)))
  })
}

const row = (x: Plain, index: readonly number[]) =>
  range(x.shape.at(-1) as number).map(i => at(x, [...index.slice(0, -1), i]))

export const rowSum = (x: Plain) => build([...x.shape.slice(0, -1), 1], index => sum(row(x, index)))
export const rowMax = (x: Plain) => build([...x.shape.slice(0, -1), 1], index => Math.max(...row(x, index)))
export const rowMean = (x: Plain) => elementwise(total => total / (x.shape.at(-1) as number), rowSum(x))
export const firstDimSum = (x: Plain) =>
  build(x.shape.slice(1), index => sum(range(x.shape[0] as number).map(i => at(x, [i, ...index]))))

export const logSoftmax = (x: Plain) =>
  build(x.shape, index => at(x, index) - Math.log(sum(row(x, index).map(value => Math.exp(value)))))

export const transpose = (x: Plain, permutation: readonly number[]) =>
  build(
    permutation.map(dim => x.shape[dim] as number),
    index =>
      at(
        x,
        range(x.shape.length).map(dim => index[permutation.indexOf(dim)] as number),
      ),
  )

export const concat = (parts: readonly Plain[], dim: number) => {
  const rows = parts.flatMap((part, i) => range(part.shape[dim] as number).map(row => [i, row] as const))
  const shape = (parts[0] as Plain).shape.map((size, i) => (i === dim ? rows.length : size))
  return build(shape, index => {
    const [part, place] = rows[index[dim] as number] as readonly [number, number]
    return at(parts[part] as Plain, index.with(dim, place))
  })
}

export const gatherRows = (table: Plain, ids: Plain) =>
  build([...ids.shape, table.shape[1] as number], ([i, j]) => at(table, [ids.data[i as number] as number, j as number]))

export const segmentSum = (x: Plain, ids: Plain, count: number) =>
  build([count, x.shape[1] as number], ([segment, j]) =>
    sum(ids.data.flatMap((id, i) => (id === segment ? [at(x, [i, j as number])] : []))),
  )
