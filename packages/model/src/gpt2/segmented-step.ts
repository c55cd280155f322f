import { type DeviceTensor, type KernelDevice, type Pass, releaseAll, type TensorSpec } from '@skein/device'
import type { FlatLayout } from '../flat-layout.ts'
import { type Gpt2Config, names, type SegmentRange } from './config.ts'
import { readGradients, segmentParamNames, uploadParams } from './flat-tensors.ts'
import { type PassSizes, segmentBackward, stepToLastSegment } from './segment-passes.ts'

type Tensors = Record<string, DeviceTensor>

/**
 * A training step whose gradients become complete segment by segment: one session call for the whole forward pass and the backward
 * pass of the last segment, then one for each segment before it. So buckets can be reduced while earlier segments are computed, with as
 * many boundaries between calls as that needs and no more (each costs fusion, and overlap of independent kernels).
 */
export class SegmentedStep {
  readonly #device: KernelDevice
  readonly #layout: FlatLayout
  readonly #ranges: readonly SegmentRange[]
  readonly #sizes: PassSizes
  readonly #passes = new Map<string, Pass>()

  constructor(
    device: KernelDevice,
    layout: FlatLayout,
    config: Gpt2Config,
    ranges: readonly SegmentRange[],
    samples: number,
  ) {
    this.#device = device
    this.#layout = layout
    this.#ranges = ranges
    this.#sizes = { ...config, samples, tokens: config.context }
  }

  /** Borrows `ids` and `targets`, int32 [N]. Returns the loss sum, a scalar that the caller owns. */
  run(
    given: { readonly ids: DeviceTensor; readonly targets: DeviceTensor },
    params: Float32Array,
    grads: Float32Array,
    accumulate: boolean,
    onBucket: (bucket: number) => void,
  ): DeviceTensor {
    const device = this.#device
    const upload = (list: readonly string[]) => uploadParams(device, this.#layout, list, params)
    const allParams = upload(this.#layout.tensors.map(tensor => tensor.name))
    const live: Tensors = { ...allParams, ids: device.retain(given.ids), targets: device.retain(given.targets) }
    // Takes the named tensors out of `live` and frees them.
    const drop = (list: readonly string[]) => {
      for (const name of list) {
        const tensor = live[name]
        if (tensor !== undefined) device.release(tensor)
        delete live[name]
      }
    }
    try {
      const last = this.#ranges.length - 1
      const { lossSum, ...out } = this.#run('last', live, (k, inputs) =>
        stepToLastSegment(k, this.#ranges, this.#sizes, inputs),
      )
      drop(['targets'])
      this.#takeGradients(out, live, grads, () => accumulate)
      onBucket(0)
      for (let segment = last - 1; segment >= 0; segment--) {
        const range = this.#ranges[segment] as SegmentRange
        const inputs = this.#inputsOf(range, live)
        const results = this.#run(`segment ${segment}`, inputs, (k, x) => segmentBackward(k, range, this.#sizes, x))
        drop(Object.keys(inputs))
        // The tied embedding gets its gradient in two parts: from the head in the last segment, then from the lookup in the first.
        this.#takeGradients(results, live, grads, name => accumulate || (range.isFirst && name === names.wte))
        onBucket(last - segment)
      }
      return lossSum as DeviceTensor
    } finally {
      releaseAll(live)
    }
  }

  dispose(): void {
    for (const pass of this.#passes.values()) pass.dispose()
    this.#passes.clear()
  }

  /** What the backward pass of this segment reads: its parameters, what its blocks saved, `dy`, and the ids for the lookup. */
  #inputsOf(range: SegmentRange, live: Tensors): Tensors {
    const wanted = new Set(segmentParamNames(this.#sizes, range))
    const isOwn = (name: string) => {
      if (name.startsWith('saved/')) {
        const block = Number(/^saved\/h(\d+)\//.exec(name)?.[1] ?? Number.NaN)
        return block >= range.from && block < range.to
      }
      return wanted.has(name) || name === 'dy' || (name === 'ids' && range.isFirst)
    }
    return Object.fromEntries(Object.entries(live).filter(([name]) => isOwn(name)))
  }

  /** Moves gradients into the flat buffer; everything else stays live, `dx` as the next segment's `dy`. */
  #takeGradients(out: Tensors, live: Tensors, grads: Float32Array, accumulates: (name: string) => boolean): void {
    const gradients: Tensors = {}
    for (const [name, tensor] of Object.entries(out)) {
      if (name.startsWith('grad/')) gradients[name] = tensor
      else live[name === 'dx' ? 'dy' : name] = tensor
    }
    readGradients(this.#device, this.#layout, gradients, grads, accumulates)
  }

  #run(key: string, inputs: Tensors, fn: Parameters<KernelDevice['compile']>[2]): Tensors {
    let pass = this.#passes.get(key)
    if (pass === undefined) {
      const specs: Record<string, TensorSpec> = {}
      for (const [name, { shape, dtype }] of Object.entries(inputs)) specs[name] = { shape, dtype }
      pass = this.#device.compile(`gpt2 step of ${this.#sizes.samples}, ${key}`, specs, fn)
      this.#passes.set(key, pass)
    }
    return pass.run(inputs)
  }
}
