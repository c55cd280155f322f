import { numElements, SkeinError } from '@skein/core'
import type { Tfjs } from '@skein/device'
import { ModelErrors } from '../errors.ts'
import type { FrozenPart, StageTensor } from '../pipeline-stage.ts'
import type { Batch } from '../trainable-model.ts'
import { chainOf } from './chain.ts'
import { type Tensor, tensorOver, TfStageTensor } from './tf-stage-tensor.ts'
import type { TfLayer } from './weights.ts'

export interface FrozenLayersOptions {
  readonly tf: Tfjs
  /** Of layers that form a chain; owned by the frozen part from here. Its weights are the same on all ranks. */
  readonly model: InstanceType<Tfjs['LayersModel']>
  /** Of each piece. */
  readonly samples: number
  /** The array of the batch that it takes. Default: "inputs". */
  readonly input?: string
}

/** The layers of a `tf.LayersModel` that is not trained, each a pass of its own on a piece of the samples: an encoder, say. */
export class FrozenLayers implements FrozenPart {
  readonly numLayers: number
  readonly outputElems: number
  readonly #options: FrozenLayersOptions
  readonly #layers: readonly TfLayer[]
  /** By piece what its last layer so far made. */
  readonly #held = new Map<number, Tensor>()
  #batch: ((piece: number) => Batch) | undefined

  /** @throws SKEIN_MODEL_CUT unless its layers form a chain without masks */
  constructor(options: FrozenLayersOptions) {
    const { tf, model, samples } = options
    this.#options = options
    this.#layers = chainOf(tf, model)
    this.numLayers = this.#layers.length
    const [, ...dims] = model.outputShape as number[]
    this.outputElems = numElements([samples, ...dims])
  }

  begin(batch: (piece: number) => Batch): void {
    this.reset()
    this.#batch = batch
  }

  run(layer: number, piece: number): StageTensor | undefined {
    const { tf } = this.#options
    const x = layer === 0 ? this.#input(piece) : this.#held.get(piece)
    const frozen = this.#layers[layer]
    if (x === undefined || frozen === undefined) {
      throw new SkeinError(ModelErrors.STAGE_ORDER, {
        what: `frozen layer ${layer} of ${this.numLayers} was asked for piece ${piece} before the layer below it`,
        todo: 'run the layers of a piece in their order, each once, after begin',
        details: { layer, piece },
      })
    }
    const y = tf.tidy(() => frozen.apply(x, { training: false }) as Tensor)
    x.dispose()
    this.#held.delete(piece)
    if (layer === this.numLayers - 1) return new TfStageTensor(y)
    this.#held.set(piece, y)
    return undefined
  }

  heldBytes(): number {
    let bytes = 0
    for (const { size } of this.#held.values()) bytes += size * Float32Array.BYTES_PER_ELEMENT
    return bytes
  }

  reset(): void {
    for (const tensor of this.#held.values()) tensor.dispose()
    this.#held.clear()
  }

  dispose(): void {
    this.reset()
    this.#options.model.dispose()
  }

  #input(piece: number): Tensor | undefined {
    const { tf, input = 'inputs' } = this.#options
    const array = this.#batch?.(piece).arrays[input]
    return array && tensorOver(tf, array.data, array.shape)
  }
}
