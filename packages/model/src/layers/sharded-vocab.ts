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

/** Token ids as a shard knows them: `ids` int32 [N] within it, and `mask` float32 [N,1], 0 where the token is another shard's. */
export function tokensOfShard(ids: Int32Array, { start, size }: VocabShard) {
  const isOwn = (id: number) => id >= start && id < start + size
  return {
    ids: ids.map(id => (isOwn(id) ? id - start : 0)),
    mask: Float32Array.from(ids, id => (isOwn(id) ? 1 : 0)),
  }
}

/** Tokens on the device, as `tokensOfShard` has them. */
export interface ShardTokens<T> {
  readonly ids: T
  readonly mask: T
}

/** This shard's part of the token embedding, [N,D]; the sum over shards is the embedding. */
export function embeddingShardForward<T extends KernelTensor>(k: Kernels<T>, { ids, mask }: ShardTokens<T>, wte: T): T {
  return k.mul(k.gatherRows(wte, ids), mask)
}

/** dx [N,D] → the gradient of the shard, [W,D]. */
export function embeddingShardWeightGrad<T extends KernelTensor>(
  k: Kernels<T>,
  dx: T,
  { ids, mask }: ShardTokens<T>,
  words: number,
): T {
  return k.segmentSum(k.mul(dx, mask), ids, words)
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

/** S: y [N,D], after the final norm; tokens are the targets. */
export function headShardForward<T extends KernelTensor>(
  k: Kernels<T>,
  y: T,
  { ids, mask }: ShardTokens<T>,
  wte: T,
): HeadShard<T> {
  const logits = k.matMul(y, wte, { transposeB: true })
  const max = k.rowMax(logits)
  const exps = k.exp(k.sub(logits, max))
  return {
    max,
    sum: k.rowSum(exps),
    target: k.rowSum(k.mul(logits, k.mul(k.oneHot(ids, columns(logits)), mask))),
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

/** T: the gradient of the shard, [W,D]. */
export function headShardWeightGrad<T extends KernelTensor>(
  k: Kernels<T>,
  y: T,
  { ids, mask }: ShardTokens<T>,
  { max, exps }: Pick<HeadShard<T>, 'max' | 'exps'>,
  whole: WholeRows<T>,
  tokens: number,
): T {
  const probs = k.mul(exps, rescale(k, max, whole))
  const dLogits = k.scale(k.sub(probs, k.mul(k.oneHot(ids, columns(exps)), mask)), 1 / tokens)
  return k.matMul(dLogits, y, { transposeA: true })
}

/** What makes a shard's exponentials parts of the softmax, [N,1]: at most 1, so nothing overflows; far below the others' largest it is 0. */
function rescale<T extends KernelTensor>(k: Kernels<T>, max: T, whole: WholeRows<T>): T {
  return k.mul(k.exp(k.sub(max, whole.max)), whole.inverseSum)
}

const columns = (x: KernelTensor) => x.shape[1] as number
