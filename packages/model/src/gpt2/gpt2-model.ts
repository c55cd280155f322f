import { type DeviceTensor, type KernelDevice, type Pass, releaseAll } from '@skein/device'
import { type FlatLayout, flatLayout } from '../flat-layout.ts'
import type { StageTensor } from '../pipeline-stage.ts'
import type { Batch, LossSum, MicrobatchOptions, TrainableModel } from '../trainable-model.ts'
import { checkTokens } from './check-batch.ts'
import { checkSizes, type Gpt2Config, gpt2Params, segmentRanges } from './config.ts'
import { evaluationPass, logitsPass } from './inference-passes.ts'
import { initialiseGpt2 } from './initialise.ts'
import { readGradients, uploadParams } from './flat-tensors.ts'
import { Gpt2Stage } from './gpt2-stage.ts'
import { wholeStep } from './segment-passes.ts'
import { SegmentedStep } from './segmented-step.ts'

export interface Gpt2Options {
  /** Pieces of the backward pass, and buckets of gradients. Default: one a block, at most 4. */
  readonly numSegments?: number
}

/** A GPT-2 on one device, trained by hand-written passes. Passes are compiled per number of samples, at their first use. */
export class Gpt2 implements TrainableModel {
  readonly config: Gpt2Config
  /** Owned by the caller, who disposes it after the model. */
  readonly device: KernelDevice
  readonly layout: FlatLayout
  readonly initialIsRandom = false
  readonly #paramNames: readonly string[]
  readonly #stages = new Map<number, Gpt2Stage[]>()
  readonly #segmented = new Map<number, SegmentedStep>()
  readonly #passes = new Map<string, Pass>()
  readonly #numSegments: number | undefined

  constructor(config: Gpt2Config, device: KernelDevice, options: Gpt2Options = {}) {
    checkSizes(config)
    this.config = config
    this.device = device
    this.#numSegments = options.numSegments
    this.layout = flatLayout(gpt2Params(config, this.#ranges()))
    this.#paramNames = this.layout.tensors.map(tensor => tensor.name)
  }

  initialise(params: Float32Array, seed: number): void {
    initialiseGpt2(params, this.layout, this.config, seed)
  }

  trainMicrobatch(batch: Batch, params: Float32Array, grads: Float32Array, options: MicrobatchOptions): LossSum {
    this.#checkTrainable(batch)
    return options.onBucket === undefined
      ? this.#whole(batch, params, grads, options.accumulate)
      : this.#bySegments(batch, params, grads, options.accumulate, options.onBucket)
  }

  evaluate(batch: Batch, params: Float32Array): LossSum {
    this.#checkTrainable(batch)
    const { samples } = batch
    const pass = this.#pass(`evaluate ${samples}`, () =>
      evaluationPass(this.device, this.config, this.#paramSpecs(), samples),
    )
    const { lossSum } = this.#runWith(pass, batch, params)
    return { lossSum: this.#scalar(lossSum), samples }
  }

  /** Logits after each of `tokens` (at most context), float32 [tokens.length, vocab]. */
  logits(tokens: readonly number[], params: Float32Array): Float32Array {
    const { context, vocab } = this.config
    const ids = new Int32Array(context)
    ids.set(tokens)
    const pass = this.#pass('logits', () => logitsPass(this.device, this.config, this.#paramSpecs()))
    const batch: Batch = { samples: 1, arrays: { inputs: { data: ids, shape: [1, context] } } }
    const { logits } = this.#runWith(pass, batch, params)
    const values = this.device.read(logits as DeviceTensor) as Float32Array
    this.device.release(logits as DeviceTensor)
    return values.subarray(0, tokens.length * vocab)
  }

  /**
   * As trainMicrobatch, but with F, B and W of each segment apart, all B before any W: what a zero-bubble schedule does, here for its
   * cost and its numerics.
   */
  trainApart(batch: Batch, params: Float32Array, grads: Float32Array, accumulate = false): LossSum {
    this.#checkTrainable(batch)
    const stages = this.#apart(batch.samples)
    if (!accumulate) grads.fill(0)
    const piece = { microbatch: 0, slice: 0 }
    let x: StageTensor | undefined
    let dy: StageTensor | undefined
    try {
      for (const stage of stages) {
        stage.begin({ batch: () => batch, params, gradients: grads })
        x = stage.forward(piece, x, 'activations')
      }
      for (const stage of stages.toReversed()) dy = stage.inputGrad(piece, dy)
      for (const stage of stages.toReversed()) stage.weightGrad(piece)
      return (stages.at(-1) as Gpt2Stage).loss()
    } finally {
      for (const stage of stages) stage.reset()
    }
  }

  /** The stages for microbatches of this many samples, first to last. */
  #apart(samples: number): readonly Gpt2Stage[] {
    let stages = this.#stages.get(samples)
    if (stages === undefined) {
      const { device, layout, config } = this
      stages = this.#ranges().map(range => new Gpt2Stage({ device, layout, config, range, samples }))
      this.#stages.set(samples, stages)
    }
    return stages
  }

  ledger() {
    return this.device.ledger()
  }

  dispose(): void {
    for (const stages of this.#stages.values()) for (const stage of stages) stage.dispose()
    for (const step of this.#segmented.values()) step.dispose()
    for (const pass of this.#passes.values()) pass.dispose()
    this.#stages.clear()
    this.#segmented.clear()
    this.#passes.clear()
  }

  #checkTrainable(batch: Batch): void {
    checkTokens(batch, ['inputs', 'targets'], this.config.context)
  }

  #whole(batch: Batch, params: Float32Array, grads: Float32Array, accumulate: boolean): LossSum {
    const { samples } = batch
    const { context } = this.config
    const pass = this.#pass(`step ${samples}`, () =>
      this.device.compile(
        `gpt2 step ${samples}`,
        {
          ...this.#paramSpecs(),
          ids: { shape: [samples * context], dtype: 'int32' },
          targets: { shape: [samples * context], dtype: 'int32' },
        },
        (k, inputs) => wholeStep(k, { ...this.config, samples, tokens: context }, inputs),
      ),
    )
    const { lossSum, ...out } = this.#runWith(pass, batch, params)
    readGradients(this.device, this.layout, out, grads, () => accumulate)
    return { lossSum: this.#scalar(lossSum), samples }
  }

  #bySegments(
    batch: Batch,
    params: Float32Array,
    grads: Float32Array,
    accumulate: boolean,
    onBucket: (bucket: number) => void,
  ): LossSum {
    const { samples } = batch
    let step = this.#segmented.get(samples)
    if (step === undefined) {
      step = new SegmentedStep(this.device, this.layout, this.config, this.#ranges(), samples)
      this.#segmented.set(samples, step)
    }
    const given = this.#uploadBatch(batch) as { ids: DeviceTensor; targets: DeviceTensor }
    try {
      return { lossSum: this.#scalar(step.run(given, params, grads, accumulate, onBucket)), samples }
    } finally {
      releaseAll(given)
    }
  }

  #runWith(pass: Pass, batch: Batch, params: Float32Array): Record<string, DeviceTensor> {
    const uploaded = {
      ...uploadParams(this.device, this.layout, this.#paramNames, params),
      ...this.#uploadBatch(batch),
    }
    try {
      return pass.run(uploaded)
    } finally {
      releaseAll(uploaded)
    }
  }

  #uploadBatch(batch: Batch): Record<string, DeviceTensor> {
    const { inputs, targets } = batch.arrays
    return {
      ids: this.device.upload(inputs?.data as Int32Array, [inputs?.data.length ?? 0]),
      ...(targets && { targets: this.device.upload(targets.data, [targets.data.length]) }),
    }
  }

  #paramSpecs() {
    return Object.fromEntries(this.layout.tensors.map(({ name, shape }) => [name, { shape }]))
  }

  #pass(key: string, compile: () => Pass): Pass {
    let pass = this.#passes.get(key)
    if (pass === undefined) {
      pass = compile()
      this.#passes.set(key, pass)
    }
    return pass
  }

  #scalar(tensor: DeviceTensor | undefined): number {
    const value = this.device.read(tensor as DeviceTensor)[0] as number
    this.device.release(tensor as DeviceTensor)
    return value
  }

  #ranges() {
    return segmentRanges(this.config.layers, this.#numSegments)
  }
}
