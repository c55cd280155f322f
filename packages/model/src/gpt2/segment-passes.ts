import type { Kernels, KernelTensor } from '@skein/device'
import {
  type BlockInnerGrads,
  type BlockParams,
  type BlockSaved,
  blockForward,
  blockInputGrad,
  blockParamNames,
  blockWeightGrad,
} from '../layers/block.ts'
import { embeddingForward, embeddingWeightGrad, positionsForward, positionsWeightGrad } from '../layers/embedding.ts'
import type { KeysValues } from '../layers/attention.ts'
import { type HeadSaved, headForward, headInputGrad, headWeightGrad } from '../layers/head.ts'
import { type LayerNormSaved, layerNormForward, layerNormInputGrad, layerNormWeightGrad } from '../layers/layer-norm.ts'
import { flattenTree, unflattenTree } from '../tensor-tree.ts'
import { type Gpt2Config, names, type SegmentRange } from './config.ts'

/*
 * The passes of one segment over tensors by name: parameters under their own names, `ids`, `targets` int32 [N], `x`, `dy` [N,D]. What the
 * forward pass saves is under "saved/", what the input gradient leaves for the weight gradient under "inner/", gradients under "grad/".
 *
 * Of a slice of the sequence: keys and values of earlier slices come under "earlier/<slice>/h<block>/", the gradients that later slices have made
 * for all keys and values up to this slice's end under "later/h<block>/"; what comes out under "later/" goes into the slice before.
 */

export interface PassSizes extends Gpt2Config {
  readonly samples: number
  readonly tokens: number
  /** Position of the first token. Default 0. */
  readonly start?: number
  /** Number of the slice, from 0. Default 0. */
  readonly slice?: number
}

type Tensors<T> = Readonly<Record<string, T>>
const of = <T>(tensors: Tensors<T>, name: string) => tensors[name] as T

function blockParams<T>(tensors: Tensors<T>, block: number): BlockParams<T> {
  return Object.fromEntries(
    blockParamNames.map(name => [name, of(tensors, names.block(block, name))]),
  ) as unknown as BlockParams<T>
}

function earlierKeysValues<T>({ slice = 0 }: PassSizes, block: number, tensors: Tensors<T>): KeysValues<T>[] {
  return Array.from({ length: slice }, (_, j) => unflattenTree<KeysValues<T>>(`earlier/${j}/h${block}`, tensors))
}

/** F: `ids` or `x` (and `targets` for the last segment) → `y` or `lossSum`, and "saved/…". */
export function segmentForward<T extends KernelTensor>(
  k: Kernels<T>,
  range: SegmentRange,
  sizes: PassSizes,
  tensors: Tensors<T>,
): Record<string, T> {
  const out: Record<string, T> = {}
  let x = range.isFirst
    ? embeddingForward(k, of(tensors, 'ids'), of(tensors, names.wte), of(tensors, names.wpe), sizes)
    : of(tensors, 'x')
  if (range.hasPositions === true) x = positionsForward(k, x, of(tensors, names.wpe), sizes)
  for (let block = range.from; block < range.to; block++) {
    const { y, saved } = blockForward(
      k,
      x,
      blockParams(tensors, block),
      sizes,
      earlierKeysValues(sizes, block, tensors),
    )
    Object.assign(out, flattenTree<T>(`saved/h${block}`, saved))
    x = y
  }
  if (range.hasFinalNorm === true) {
    const { y, saved } = layerNormForward(k, x, of(tensors, names.finalGain), of(tensors, names.finalBias))
    return { ...out, ...flattenTree<T>('saved/norm', saved), y }
  }
  if (!range.isLast) return { ...out, y: x }
  const head = { gain: of(tensors, names.finalGain), bias: of(tensors, names.finalBias), wte: of(tensors, names.wte) }
  const { lossSum, saved } = headForward(k, x, head, of(tensors, 'targets'), sizes.context)
  return { ...out, ...flattenTree<T>('saved/head', saved), lossSum }
}

/** Of what F saves, what later slices read: the names of keys and values. */
export const isKeysValues = (name: string) => /^saved\/h\d+\/attention\/[kv]$/.test(name)

/** F of an evaluation: `y` or `lossSum`, and what later slices read. */
export function segmentOutput<T extends KernelTensor>(
  k: Kernels<T>,
  range: SegmentRange,
  sizes: PassSizes,
  tensors: Tensors<T>,
): Record<string, T> {
  const { start = 0, tokens, context } = sizes
  const hasLater = start + tokens < context
  const isRead = (name: string) => name === 'y' || name === 'lossSum' || (hasLater && isKeysValues(name))
  const out = segmentForward(k, range, sizes, tensors)
  return Object.fromEntries(Object.entries(out).filter(([name]) => isRead(name)))
}

/** B: `dy` (none for the last segment, which starts from its loss) → `dx`, "inner/…", and "later/…" for an earlier slice. */
export function segmentInputGrad<T extends KernelTensor>(
  k: Kernels<T>,
  range: SegmentRange,
  sizes: PassSizes,
  tensors: Tensors<T>,
): Record<string, T> {
  const out: Record<string, T> = {}
  let dy: T
  if (range.isLast) {
    const head = { gain: of(tensors, names.finalGain), wte: of(tensors, names.wte) }
    const { dx, dNorm } = headInputGrad(k, head, unflattenTree<HeadSaved<T>>('saved/head', tensors))
    out['inner/head/dNorm'] = dNorm
    dy = dx
  } else dy = of(tensors, 'dy')
  if (range.hasFinalNorm === true) {
    out['inner/norm/dy'] = dy
    dy = layerNormInputGrad(
      k,
      dy,
      of(tensors, names.finalGain),
      unflattenTree<LayerNormSaved<T>>('saved/norm', tensors),
    )
  }
  for (let block = range.to - 1; block >= range.from; block--) {
    const saved = unflattenTree<BlockSaved<T>>(`saved/h${block}`, tensors)
    const earlier = earlierKeysValues(sizes, block, tensors)
    const later = `later/h${block}/k` in tensors && unflattenTree<KeysValues<T>>(`later/h${block}`, tensors)
    const result = blockInputGrad(k, dy, blockParams(tensors, block), saved, sizes, {
      earlier,
      ...(later && { later }),
    })
    Object.assign(out, flattenTree<T>(`inner/h${block}`, result.inner))
    if (result.later !== undefined) Object.assign(out, flattenTree<T>(`later/h${block}`, result.later))
    dy = result.dx
  }
  return { ...out, dx: dy }
}

/** W: "saved/…", "inner/…" and, in the first segment, `ids` and `dx` → "grad/<parameter>". */
export function segmentWeightGrad<T extends KernelTensor>(
  k: Kernels<T>,
  range: SegmentRange,
  sizes: PassSizes,
  tensors: Tensors<T>,
): Record<string, T> {
  const out: Record<string, T> = {}
  let wte: T | undefined
  if (range.isLast) {
    const saved = unflattenTree<HeadSaved<T>>('saved/head', tensors)
    const head = headWeightGrad(k, saved, of(tensors, 'inner/head/dNorm'))
    out[`grad/${names.finalGain}`] = head.gain
    out[`grad/${names.finalBias}`] = head.bias
    wte = head.wte
  }
  if (range.hasFinalNorm === true) {
    const norm = layerNormWeightGrad(k, of(tensors, 'inner/norm/dy'), of(tensors, 'saved/norm/xhat'))
    out[`grad/${names.finalGain}`] = norm.weight
    out[`grad/${names.finalBias}`] = norm.bias
  }
  for (let block = range.to - 1; block >= range.from; block--) {
    const saved = unflattenTree<BlockSaved<T>>(`saved/h${block}`, tensors)
    const grads = blockWeightGrad(k, saved, unflattenTree<BlockInnerGrads<T>>(`inner/h${block}`, tensors))
    for (const name of blockParamNames) out[`grad/${names.block(block, name)}`] = grads[name]
  }
  if (range.isFirst) {
    const embedding = embeddingWeightGrad(k, of(tensors, 'dx'), of(tensors, 'ids'), sizes)
    out[`grad/${names.wpe}`] = embedding.wpe
    wte = wte === undefined ? embedding.wte : k.add(wte, embedding.wte)
  }
  if (range.hasPositions === true) out[`grad/${names.wpe}`] = positionsWeightGrad(k, of(tensors, 'dx'), sizes)
  if (wte !== undefined) out[`grad/${names.wte}`] = wte
  return out
}

/** B and W of one segment together: the faster way where a schedule does not need them apart. */
export function segmentBackward<T extends KernelTensor>(
  k: Kernels<T>,
  range: SegmentRange,
  sizes: PassSizes,
  tensors: Tensors<T>,
): Record<string, T> {
  const { dx, ...inner } = segmentInputGrad(k, range, sizes, tensors)
  const gradients = segmentWeightGrad(k, range, sizes, { ...tensors, ...inner, dx: dx as T })
  const later = Object.entries(inner).filter(([name]) => name.startsWith('later/'))
  return { ...gradients, ...Object.fromEntries(later), ...(!range.isFirst && { dx: dx as T }) }
}

/** F of all segments and B and W of the last: `ids`, `targets` → `lossSum`, `dx`, "grad/…" of the last, "saved/…" of the others. */
export function stepToLastSegment<T extends KernelTensor>(
  k: Kernels<T>,
  ranges: readonly SegmentRange[],
  sizes: PassSizes,
  tensors: Tensors<T>,
): Record<string, T> {
  const last = ranges.at(-1) as SegmentRange
  const out: Record<string, T> = {}
  let given: Tensors<T> = tensors
  for (const range of ranges.slice(0, -1)) {
    const { y, ...saved } = segmentForward(k, range, sizes, given)
    Object.assign(out, saved)
    given = { ...tensors, x: y as T }
  }
  const { lossSum, ...saved } = segmentForward(k, last, sizes, given)
  return { ...out, ...segmentBackward(k, last, sizes, { ...given, ...saved }), lossSum: lossSum as T }
}

/** Forward and backward of the whole model in one pass: `ids`, `targets` → `lossSum`, "grad/…". */
export function wholeStep<T extends KernelTensor>(
  k: Kernels<T>,
  sizes: PassSizes,
  tensors: Tensors<T>,
): Record<string, T> {
  const range: SegmentRange = { index: 0, from: 0, to: sizes.layers, isFirst: true, isLast: true }
  const { lossSum, ...saved } = segmentForward(k, range, sizes, tensors)
  return { lossSum: lossSum as T, ...segmentBackward(k, range, sizes, { ...tensors, ...saved }) }
}
