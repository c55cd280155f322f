import { nearestName, numElements, type Shape, SkeinError } from '@skein/core'
import { ModelErrors } from './errors.ts'

/** A parameter before it has a place. */
export interface ParamSpec {
  /** Hugging Face's name, where there is one. */
  readonly name: string
  readonly shape: Shape
  /** Whether AdamW decays it: matrices yes, biases and norms no. */
  readonly decay: boolean
  /** The run of layers it belongs to; its gradient is complete when that run's backward pass is. */
  readonly segment: number
  /** That it is a run of the rows of a larger parameter: those from `start` on, of `of`. Absent: it is whole. */
  readonly rows?: { readonly start: number; readonly of: number }
}

/** A parameter's place in the flat buffers. Offsets and sizes count elements. */
export interface ParamPlace extends ParamSpec {
  /** A multiple of 16 elements (64 B), so that the device can take a view without copying. */
  readonly offset: number
  readonly elems: number
}

export interface ElementRange {
  readonly offset: number
  readonly elems: number
}

/** The one order of all tensors in flat float32 buffers of parameters, gradients and moments; the same on every rank. */
export interface FlatLayout {
  readonly tensors: readonly ParamPlace[]
  /** What is reduced together: one bucket a segment, in the order in which the backward pass completes them (last segment first). */
  readonly buckets: readonly (ElementRange & { readonly segment: number })[]
  /** Runs of equal weight decay, for the update. */
  readonly slabs: readonly (ElementRange & { readonly decay: boolean })[]
  /** Elements of a flat buffer, padding included; padding is zero and stays zero. */
  readonly totalElems: number
  /** Elements of all tensors, without padding. */
  readonly numParams: number
}

const alignElems = 16
const padded = (elems: number) => Math.ceil(elems / alignElems) * alignElems

/** Lays out parameters: buckets by falling segment, decayed tensors first within one, otherwise in the given order. */
export function flatLayout(specs: readonly ParamSpec[]): FlatLayout {
  const segments = [...new Set(specs.map(spec => spec.segment))].sort((a, b) => b - a)
  const tensors: ParamPlace[] = []
  const buckets: FlatLayout['buckets'][number][] = []
  const slabs: FlatLayout['slabs'][number][] = []
  let offset = 0
  for (const segment of segments) {
    const bucketStart = offset
    for (const decay of [true, false]) {
      const slabStart = offset
      for (const spec of specs) {
        if (spec.segment !== segment || spec.decay !== decay) continue
        const elems = numElements(spec.shape)
        tensors.push({ ...spec, offset, elems })
        offset += padded(elems)
      }
      if (offset > slabStart) slabs.push({ offset: slabStart, elems: offset - slabStart, decay })
    }
    buckets.push({ offset: bucketStart, elems: offset - bucketStart, segment })
  }
  const numParams = tensors.reduce((sum, tensor) => sum + tensor.elems, 0)
  return { tensors, buckets, slabs, totalElems: offset, numParams }
}

/** The tensor of this name. @throws SKEIN_MODEL_PARAMETER */
export function placeOf(layout: FlatLayout, name: string): ParamPlace {
  const place = layout.tensors.find(tensor => tensor.name === name)
  if (place !== undefined) return place
  const nearest = nearestName(
    name,
    layout.tensors.map(tensor => tensor.name),
  )
  throw new SkeinError(ModelErrors.PARAMETER, {
    what: `the model has no parameter ${name}`,
    why: nearest === undefined ? 'it is of another architecture or size' : `the nearest that it has is ${nearest}`,
    todo: 'compare the sizes and the names of both models',
    details: { name },
  })
}
