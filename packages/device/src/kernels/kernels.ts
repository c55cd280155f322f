import type { Shape } from '@skein/core'

/** Number types inside a pass. bfloat16 is no part of it: it exists only within a product (`Precision`). */
export type KernelDType = 'float32' | 'int32'

/** Whatever an implementation calls a tensor, it knows its shape and dtype in JavaScript. */
export interface KernelTensor {
  readonly shape: Shape
  readonly dtype: KernelDType
}

/**
 * How products are computed. `bf16` rounds both operands and the result to bfloat16 (sums inside are float32) and
 * everything between products stays float32: relative error of a product about 2^-8.
 */
export type Precision = 'f32' | 'bf16'

export interface ProductOptions {
  /** Read `a` with its last two dims swapped. */
  readonly transposeA?: boolean
  /** Read `b` with its last two dims swapped. */
  readonly transposeB?: boolean
}

/**
 * The ops of a hand-written pass, float32 unless said otherwise. A pass is written once against this interface and runs on
 * tfjs ops of any backend, on TensorFlow kernels one by one, or traced into one TensorFlow graph.
 *
 * Results belong to the running pass, which frees what it does not return. No op writes its inputs.
 * Mind when writing one: scale `q` before a product and `sub` a mask after it. TensorFlow's optimizer folds a scale on either side of a
 * product and an `add` behind it into oneDNN's reference loop, which is a hundred times slower; it does so wherever the parts are not
 * outputs of the pass, so a training pass may be spared and an evaluation not. It knows no such rule for `sub`.
 */
export interface Kernels<T extends KernelTensor> {
  readonly precision: Precision

  /** Runs `fn` and frees what it made and does not return, in any nesting of objects and arrays. Free of effect where passes are traced. */
  scoped<R>(fn: () => R): R

  /** A float32 constant of the pass. A typed array must never change: it may be uploaded once and known again by identity. */
  constant(values: ArrayLike<number>, shape: Shape): T
  /** An int32 constant of the pass; see `constant`. */
  indices(values: ArrayLike<number>, shape: Shape): T

  /** [M,K] × [K,N] → [M,N], after the transposes. */
  matMul(a: T, b: T, options?: ProductOptions): T
  /** […,M,K] × […,K,N] → […,M,N], after the transposes; equal leading dims. */
  batchMatMul(a: T, b: T, options?: ProductOptions): T

  /** Elementwise, with numpy's broadcasting. */
  add(a: T, b: T): T
  sub(a: T, b: T): T
  mul(a: T, b: T): T
  /** x·factor. */
  scale(x: T, factor: number): T
  /** x + value. */
  shift(x: T, value: number): T
  square(x: T): T
  rsqrt(x: T): T
  exp(x: T): T
  sigmoid(x: T): T
  /** dy·s·(1−s), where s = sigmoid(x) was kept: the gradient with respect to x. */
  sigmoidGrad(s: T, dy: T): T

  /** x [N,D] + bias [D]. */
  biasAdd(x: T, bias: T): T
  /** [N,D] → [D], summed over rows: the gradient of a bias. */
  columnSum(x: T): T
  /** […,D] → […,1]. */
  rowMean(x: T): T
  /** […,D] → […,1]. */
  rowSum(x: T): T
  /** […,D] → […,1]. */
  rowMax(x: T): T
  /** [A,…] → […], summed over the first dim. */
  firstDimSum(x: T): T

  reshape(x: T, shape: Shape): T
  /** `permutation[i]` is the dim of x that becomes dim i. */
  transpose(x: T, permutation: readonly number[]): T
  /** [A,…] → A tensors […]. */
  unpack(x: T): T[]
  /** A tensors […] of one shape → [A,…]. */
  pack(parts: readonly T[]): T

  /** Joined along one dim; all other dims equal. */
  concat(parts: readonly T[], dim: number): T
  /** The inverse of `concat`: parts of these lengths along one dim, which they fill. */
  split(x: T, lengths: readonly number[], dim: number): T[]

  /** Rows of `table` [R,D] at `ids` int32 [N] → [N,D]. Ids outside 0…R-1 are the caller's bug. */
  gatherRows(table: T, ids: T): T
  /** Sums rows of `x` [N,D] by `ids` int32 [N] → [numSegments,D]: the gradient of gatherRows. */
  segmentSum(x: T, ids: T, numSegments: number): T

  /** `ids` int32 [N], each 0…depth-1 → [N,depth], with a 1 in each row. */
  oneHot(ids: T, depth: number): T

  /** Over the last dim. */
  softmax(x: T): T
  /** Over the last dim. */
  logSoftmax(x: T): T
  /** `logits` [N,V] and `labels` int32 [N] → loss [N] in nats, and its gradient softmax − onehot, [N,V]. */
  softmaxCrossEntropy(logits: T, labels: T): { readonly loss: T; readonly gradient: T }
}
