import type { DeviceTensor, KernelDevice } from '@skein/device'
import { type FlatLayout, placeOf } from '../flat-layout.ts'
import { type Gpt2Config, gpt2Params, names, type SegmentRange } from './config.ts'

/** Between the flat buffers and tensors on the device. */

/** Whether the gradient of this parameter is added to what is there (another microbatch, or the other half of a tied one). */
export type Accumulates = (name: string) => boolean

export function uploadParams(
  device: KernelDevice,
  layout: FlatLayout,
  paramNames: readonly string[],
  params: Float32Array,
): Record<string, DeviceTensor> {
  return Object.fromEntries(
    paramNames.map(name => {
      const { offset, elems, shape } = placeOf(layout, name)
      return [name, device.upload(params.subarray(offset, offset + elems), shape)]
    }),
  )
}

/** Moves the outputs "grad/…" into their places and releases all outputs. */
export function readGradients(
  device: KernelDevice,
  layout: FlatLayout,
  out: Readonly<Record<string, DeviceTensor>>,
  grads: Float32Array,
  accumulates: Accumulates,
): void {
  for (const [output, tensor] of Object.entries(out)) {
    if (output.startsWith('grad/')) {
      const name = output.slice('grad/'.length)
      const { offset, elems } = placeOf(layout, name)
      device.readInto(tensor, grads.subarray(offset, offset + elems), accumulates(name))
    }
    device.release(tensor)
  }
}

/** The parameters that the passes of a segment read: its own, and in the last the tied embedding too. */
export function segmentParamNames(config: Gpt2Config, range: SegmentRange): string[] {
  const own = gpt2Params(config, [range]).map(param => param.name)
  return own.filter(name => {
    if (name === names.wpe) return range.isFirst || range.hasPositions === true
    if (name === names.wte) return range.isFirst || range.isLast
    return range.isLast || range.hasFinalNorm === true || (name !== names.finalGain && name !== names.finalBias)
  })
}
