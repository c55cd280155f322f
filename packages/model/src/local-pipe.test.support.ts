import type { FlatLayout } from './flat-layout.ts'
import type { Keeps, PipelineModel, PipelineStage, StageStep, StageTensor } from './pipeline-stage.ts'
import type { LossSum } from './trainable-model.ts'

/** Gradients or parameters by name: layouts of different cuts put them in different places. */
export function byName(layout: FlatLayout, flat: Float32Array): Record<string, Float32Array> {
  return Object.fromEntries(layout.tensors.map(({ name, offset, elems }) => [name, flat.slice(offset, offset + elems)]))
}

/** The ranks of a pipe, each with its parameters and gradients, and the way of a tensor from one to the next. */
export class LocalPipe {
  readonly models: readonly PipelineModel[]
  readonly params: readonly Float32Array[]
  readonly gradients: readonly Float32Array[]
  /** Whether tensors between ranks go by values, as in a message, whose buffer is overwritten at once. */
  readonly #byMessage: boolean

  constructor(
    models: readonly PipelineModel[],
    options: { readonly seed?: number; readonly byMessage?: boolean } = {},
  ) {
    this.models = models
    this.#byMessage = options.byMessage ?? false
    this.params = models.map(model => {
      const params = new Float32Array(model.layout.totalElems)
      model.initialise(params, options.seed ?? 5)
      return params
    })
    this.gradients = models.map(model => new Float32Array(model.layout.totalElems))
  }

  get numStages(): number {
    return this.models[0]?.numStages ?? 0
  }

  stage(index: number): PipelineStage {
    return this.#rankOf(index).stages.get(index) as PipelineStage
  }

  /** Zeroes the gradients and begins a step on every stage. */
  begin(batch: StageStep['batch']): void {
    for (const [rank, model] of this.models.entries()) {
      const gradients = this.gradients[rank] as Float32Array
      gradients.fill(0)
      for (const stage of model.stages.values()) {
        stage.begin({ batch, params: this.params[rank] as Float32Array, gradients })
      }
    }
  }

  /** F of one piece through all stages. */
  forward(microbatch: number, slice = 0, keeps: Keeps = 'activations'): void {
    let x: StageTensor | undefined
    for (let stage = 0; stage < this.numStages; stage++) {
      const y = this.stage(stage).forward({ microbatch, slice }, x, keeps)
      x = this.#pass(y, stage, stage + 1, 'activation', slice)
    }
  }

  /** B, or BW, of one piece through all stages. */
  backward(microbatch: number, slice = 0, pass: 'inputGrad' | 'backward' = 'inputGrad'): void {
    let dy: StageTensor | undefined
    for (let stage = this.numStages - 1; stage >= 0; stage--) {
      const dx = this.stage(stage)[pass]({ microbatch, slice }, dy)
      dy = this.#pass(dx, stage, stage - 1, 'gradient', slice)
    }
  }

  eachStage(run: (stage: PipelineStage) => void): void {
    for (let stage = this.numStages - 1; stage >= 0; stage--) run(this.stage(stage))
  }

  /** The gradients of all ranks; of a tied parameter the sum. */
  sumByName(): Record<string, Float32Array> {
    const sum: Record<string, Float32Array> = {}
    for (const [rank, { layout }] of this.models.entries()) {
      for (const [name, values] of Object.entries(byName(layout, this.gradients[rank] as Float32Array))) {
        const known = sum[name]
        sum[name] = known === undefined ? values : known.map((value, i) => value + (values[i] as number))
      }
    }
    return sum
  }

  loss(): LossSum {
    const sum = { lossSum: 0, samples: 0 }
    this.eachStage(stage => {
      const { lossSum, samples } = stage.loss()
      sum.lossSum += lossSum
      sum.samples += samples
    })
    return sum
  }

  heldBytes(): number {
    let bytes = 0
    this.eachStage(stage => (bytes += stage.heldBytes()))
    return bytes
  }

  dispose(): void {
    for (const model of this.models) model.dispose()
  }

  #pass(tensor: StageTensor | undefined, from: number, to: number, kind: 'activation' | 'gradient', slice: number) {
    if (!this.#byMessage || tensor === undefined || this.#rankOf(from) === this.#rankOf(to)) return tensor
    const message = new Float32Array(tensor.elems)
    tensor.copyTo(message)
    tensor.release()
    const arrived = this.stage(to).fromValues(message, kind, slice)
    message.fill(Number.NaN)
    return arrived
  }

  #rankOf(stage: number): PipelineModel {
    return this.models.find(model => model.stages.has(stage)) as PipelineModel
  }
}
