import type { Kernels, KernelTensor } from '@skein/device'

/**
 * The token embedding and the head with the vocabulary dealt out over ranks: each has a shard of the rows of wte [V,D], for lookup and for logits, so
 * that their tie stays within a rank and no stage has all of the head. N tokens, W words of a shard.
 *
 * Of a microbatch, each rank runs S on the last block's output after the final norm; one small barrier merges max and sum of the rows (`mergeRows`);
 * then each has its part of dNorm without a further product, and those are summed; T, the weight gradient, waits like any W.
 * @see Yeung et al. 2024, Balancing Pipeline Parallelism with Vocabulary Parallelism, section 4: with its products moved before the barrier
 */

/** Rows of a shard: [start, start+size). */
export interface VocabShard {
  readonly start: number
  readonly size: number
}

/** Shards of nearly equal size. */
export function vocabShards(vocab: number, count: number): VocabShard[] {
  const at = (shard: number) => Math.floor((vocab * shard) / count)
  return Array.from({ length: count }, (_, shard) => ({ start: at(shard), size: at(shard + 1) - at(shard) }))
}

/** Tokens [N] as a shard knows them. */
export interface TokensOfShard {
  /** int32 [N], within the shard; 0 where the token is another shard's. */
  readonly ids: Int32Array
  /** float32 [N], 0 where the token is another shard's, else 1. */
  readonly mask: Float32Array
}

export function tokensOfShard(tokens: Int32Array, { start, size }: VocabShard): TokensOfShard {
  const isOwn = (token: number) => token >= start && token < start + size
  return {
    ids: tokens.map(token => (isOwn(token) ? token - start : 0)),
    mask: Float32Array.from(tokens, token => (isOwn(token) ? 1 : 0)),
  }
}

/** int32 [N]: where the logits of these words lie in those of the shard, [N,W] row by row. */
export function placesInLogits({ ids }: TokensOfShard, { size }: VocabShard): Int32Array {
  return ids.map((id, row) => row * size + id)
}

/**
 * Adds `factor` times each row of x [N,D] to the gradient of its word, [W,D], where that is the shard's: on the host, where gradients are, since N
 * rows of W are touched.
 */
export function addToWords(
  gradient: Float32Array,
  x: Float32Array,
  { ids, mask }: TokensOfShard,
  factor: number,
): void {
  const width = x.length / ids.length
  for (const [row, id] of ids.entries()) {
    if (mask[row] === 0) continue
    const [from, to] = [row * width, id * width]
    for (let i = 0; i < width; i++) gradient[to + i] = (gradient[to + i] as number) + factor * (x[from + i] as number)
  }
}

/** Tokens on the device, as `tokensOfShard` has them: mask [N,1]. */
export interface ShardTokens<T> {
  readonly ids: T
  readonly mask: T
}

/** This shard's part of the token embedding, [N,D]; the sum over shards is the embedding. Its gradient: `addToWords`. */
export function embeddingShardForward<T extends KernelTensor>(k: Kernels<T>, { ids, mask }: ShardTokens<T>, wte: T): T {
  return k.mul(k.gatherRows(wte, ids), mask)
}

/** What S leaves behind. All but `exps` is of the size of N or of [N,D], whatever the vocabulary. */
export interface HeadShard<T> {
  /** Of each row of this shard's logits: the largest, [N,1]. */
  readonly max: T
  /** Σ exp(logit − max), [N,1]. */
  readonly sum: T
  /** The target's logit, where the target is here, else 0, [N,1]. */
  readonly target: T
  /** exp(logit − max), [N,W], for T. */
  readonly exps: T
  /** exps · wte, [N,D]. */
  readonly pull: T
  /** wte's row of the target, where it is here, else 0, [N,D]. */
  readonly targetRow: T
}

/** S: y [N,D], after the final norm; tokens are the targets, `places` int32 [N] those of `placesInLogits`. */
export function headShardForward<T extends KernelTensor>(
  k: Kernels<T>,
  y: T,
  { ids, mask, places }: ShardTokens<T> & { readonly places: T },
  wte: T,
): HeadShard<T> {
  const logits = k.matMul(y, wte, { transposeB: true })
  const [rows, words] = logits.shape as [number, number]
  const max = k.rowMax(logits)
  const exps = k.exp(k.sub(logits, max))
  return {
    max,
    sum: k.rowSum(exps),
    target: k.mul(k.gatherRows(k.reshape(logits, [rows * words, 1]), places), mask),
    exps,
    pull: k.matMul(exps, wte),
    targetRow: k.mul(k.gatherRows(wte, ids), mask),
  }
}

/** Of N rows: the largest logit, Σ exp(logit − max), the target's logit. */
export interface RowStatistics {
  readonly max: Float32Array
  readonly sum: Float32Array
  readonly target: Float32Array
}

/** The statistics of the whole vocabulary from those of its shards: the barrier between S and the rest. Neither order nor grouping matters but for rounding. */
export function mergeRows(shards: readonly RowStatistics[]): RowStatistics {
  const rows = shards[0]?.max.length ?? 0
  const [max, sum, target] = [0, 1, 2].map(() => new Float32Array(rows)) as [Float32Array, Float32Array, Float32Array]
  for (let row = 0; row < rows; row++) {
    const of = (name: keyof RowStatistics) => shards.map(shard => shard[name][row] as number)
    const [maxes, sums] = [of('max'), of('sum')]
    const largest = Math.max(...maxes)
    max[row] = largest
    sum[row] = maxes.reduce((all, own, i) => all + (sums[i] as number) * Math.exp(own - largest), 0)
    target[row] = of('target').reduce((all, own) => all + own, 0)
  }
  return { max, sum, target }
}

/** What shards need of the merged statistics: see `WholeRows`. */
export function wholeRows({ max, sum }: RowStatistics): WholeRows<Float32Array> {
  return { max, inverseSum: sum.map(value => 1 / value) }
}

/** The sum over samples of each sample's mean loss over its `tokens` tokens, in nats, from merged statistics. */
export function lossSumOfRows({ max, sum, target }: RowStatistics, tokens: number): number {
  return (
    max.reduce((loss, value, row) => loss + Math.log(sum[row] as number) + value - (target[row] as number), 0) / tokens
  )
}

/** Of the whole vocabulary, [N,1]: the largest logit, and 1 / Σ exp(logit − max). */
export interface WholeRows<T> {
  readonly max: T
  readonly inverseSum: T
}

/** B: this shard's part of the gradient of y, [N,D]; the sum over shards is the gradient. */
export function headShardInputGrad<T extends KernelTensor>(
  k: Kernels<T>,
  { max, pull, targetRow }: Pick<HeadShard<T>, 'max' | 'pull' | 'targetRow'>,
  whole: WholeRows<T>,
  tokens: number,
): T {
  return k.scale(k.sub(k.mul(pull, rescale(k, max, whole)), targetRow), 1 / tokens)
}

/**
 * T: the gradient of the shard, [W,D], but for the targets: y / tokens is to be taken off those, see `addToWords`. What makes probabilities of the
 * exponentials is multiplied into y: nothing of the size of the logits is made.
 */
export function headShardWeightGrad<T extends KernelTensor>(
  k: Kernels<T>,
  y: T,
  { max, exps }: Pick<HeadShard<T>, 'max' | 'exps'>,
  whole: WholeRows<T>,
  tokens: number,
): T {
  return k.matMul(exps, k.mul(y, k.scale(rescale(k, max, whole), 1 / tokens)), { transposeA: true })
}

/** What makes a shard's exponentials parts of the softmax, [N,1]: at most 1, so nothing overflows; far below the others' largest it is 0. */
function rescale<T extends KernelTensor>(k: Kernels<T>, max: T, whole: WholeRows<T>): T {
  return k.mul(k.exp(k.sub(max, whole.max)), whole.inverseSum)
}
