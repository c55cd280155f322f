import type { LossSum, Piece, PipelineStage, StageStep, StageTensor } from '@skein/model'

export interface PacedStageOptions {
  readonly stage: number
  readonly numStages: number
  /** Of one pass of one microbatch through this stage, in ms. `backward`: B and W in one; default their sum. */
  readonly costs: {
    readonly forward: number
    readonly inputGrad: number
    readonly weightGrad: number
    readonly backward?: number
  }
  /** float32 of an activation between two stages. */
  readonly boundaryElems: number
  /** Counted for each piece in flight. */
  readonly activationBytes?: number
  /** Blocks the thread for so many ms, as kernels do. */
  readonly block: (ms: number) => void
}

/**
 * A stage whose device does nothing but take its time, for measuring the executor: tensors, messages and lists are real. What goes on is what
 * came in plus one, so that the values tell the way they went.
 */
export class PacedStage implements PipelineStage {
  readonly stage: number
  readonly #options: PacedStageOptions
  readonly #inFlight = new Map<string, 'activations' | 'input' | 'gone'>()
  #losses = 0
  #samples = 0

  constructor(options: PacedStageOptions) {
    this.#options = options
    this.stage = options.stage
  }

  inputElems(): number {
    return this.stage === 0 ? 0 : this.#options.boundaryElems
  }

  outputElems(): number {
    return this.stage === this.#options.numStages - 1 ? 0 : this.#options.boundaryElems
  }

  fromValues(values: Float32Array): StageTensor {
    return tensorOf(values.slice())
  }

  begin(_step: StageStep): void {
    this.#losses = 0
    this.#samples = 0
  }

  forward(
    piece: Piece,
    x: StageTensor | undefined,
    keeps: 'activations' | 'input' | 'nothing',
  ): StageTensor | undefined {
    this.#options.block(this.#options.costs.forward)
    if (keeps !== 'nothing') this.#inFlight.set(keyOf(piece), keeps)
    const y = this.#passOn(x)
    if (this.outputElems() > 0) return y
    const values = new Float32Array(y.elems)
    y.copyTo(values)
    y.release()
    this.#losses += values[0] as number
    this.#samples++
    return undefined
  }

  inputGrad(_piece: Piece, dy: StageTensor | undefined): StageTensor | undefined {
    this.#options.block(this.#options.costs.inputGrad)
    return this.#passDown(dy)
  }

  weightGrad(piece: Piece): void {
    this.#options.block(this.#options.costs.weightGrad)
    this.#inFlight.delete(keyOf(piece))
  }

  backward(piece: Piece, dy: StageTensor | undefined): StageTensor | undefined {
    const { inputGrad, weightGrad, backward = inputGrad + weightGrad } = this.#options.costs
    this.#options.block(backward)
    this.#inFlight.delete(keyOf(piece))
    return this.#passDown(dy)
  }

  recompute(piece: Piece): void {
    this.#options.block(this.#options.costs.forward)
    this.#inFlight.set(keyOf(piece), 'activations')
  }

  offload(piece: Piece): void {
    this.#inFlight.set(keyOf(piece), 'gone')
  }

  reload(piece: Piece): void {
    this.#inFlight.set(keyOf(piece), 'activations')
  }

  loss(): LossSum {
    return { lossSum: this.#losses, samples: this.#samples }
  }

  heldBytes(): number {
    let pieces = 0
    for (const keeps of this.#inFlight.values()) if (keeps === 'activations') pieces++
    return pieces * (this.#options.activationBytes ?? 0)
  }

  reset(): void {
    this.#inFlight.clear()
  }

  #passOn(x: StageTensor | undefined): StageTensor {
    const values = new Float32Array(this.#options.boundaryElems)
    x?.copyTo(values)
    x?.release()
    values[0] = (values[0] as number) + 1
    return tensorOf(values)
  }

  #passDown(dy: StageTensor | undefined): StageTensor | undefined {
    if (this.stage > 0) return this.#passOn(dy)
    dy?.release()
    return undefined
  }
}

const keyOf = ({ microbatch, slice }: Piece) => `${microbatch} ${slice}`

function tensorOf(values: Float32Array): StageTensor {
  return { elems: values.length, copyTo: out => out.set(values), release: () => undefined }
}

/** Blocks the calling thread, without using its core. Accurate to about 0.1 ms. */
export function blockFor(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
