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
  /** Does the work, and blocks the thread until so many ms have gone by, as kernels do. */
  readonly during: <T>(ms: number, work: () => T) => T
}

/**
 * A stage whose device does nothing but take its time, for measuring the executor: tensors, messages and lists are real. What goes on is what
 * came in plus one, so that the values tell the way they went.
 */
export class PacedStage implements PipelineStage {
  readonly stage: number
  readonly #options: PacedStageOptions
  readonly #inFlight = new Map<string, 'activations' | 'input' | 'gone'>()
  /** Buffers that nobody holds: a device has a pool of its own, and what collecting them costs is not what is measured. */
  readonly #free: Float32Array[] = []
  readonly #last: Float32Array
  #losses = 0
  #samples = 0

  constructor(options: PacedStageOptions) {
    this.#options = options
    this.stage = options.stage
    this.#last = new Float32Array(options.boundaryElems)
  }

  inputElems(): number {
    return this.stage === 0 ? 0 : this.#options.boundaryElems
  }

  outputElems(): number {
    return this.stage === this.#options.numStages - 1 ? 0 : this.#options.boundaryElems
  }

  fromValues(values: Float32Array): StageTensor {
    const buffer = this.#buffer()
    buffer.set(values)
    return this.#tensorOf(buffer)
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
    const y = this.#options.during(this.#options.costs.forward, () => this.#passOn(x))
    if (keeps !== 'nothing') this.#inFlight.set(keyOf(piece), keeps)
    if (this.outputElems() > 0) return y
    y.copyTo(this.#last)
    y.release()
    this.#losses += this.#last[0] as number
    this.#samples++
    return undefined
  }

  inputGrad(_piece: Piece, dy: StageTensor | undefined): StageTensor | undefined {
    return this.#options.during(this.#options.costs.inputGrad, () => this.#passDown(dy))
  }

  weightGrad(piece: Piece): void {
    this.#options.during(this.#options.costs.weightGrad, () => undefined)
    this.#inFlight.delete(keyOf(piece))
  }

  backward(piece: Piece, dy: StageTensor | undefined): StageTensor | undefined {
    const { inputGrad, weightGrad, backward = inputGrad + weightGrad } = this.#options.costs
    const dx = this.#options.during(backward, () => this.#passDown(dy))
    this.#inFlight.delete(keyOf(piece))
    return dx
  }

  recompute(piece: Piece): void {
    this.#options.during(this.#options.costs.forward, () => undefined)
    this.#inFlight.set(keyOf(piece), 'activations')
  }

  offload(piece: Piece): void {
    if (this.#inFlight.get(keyOf(piece)) === 'activations') this.#inFlight.set(keyOf(piece), 'gone')
  }

  reload(piece: Piece): void {
    if (this.#inFlight.get(keyOf(piece)) === 'gone') this.#inFlight.set(keyOf(piece), 'activations')
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

  /** The values that came in, the first of them counted up. */
  #passOn(x: StageTensor | undefined): StageTensor {
    const buffer = this.#buffer()
    if (x === undefined) buffer.fill(0)
    else x.copyTo(buffer)
    x?.release()
    buffer[0] = (buffer[0] as number) + 1
    return this.#tensorOf(buffer)
  }

  #passDown(dy: StageTensor | undefined): StageTensor | undefined {
    if (this.stage > 0) return this.#passOn(dy)
    dy?.release()
    return undefined
  }

  #buffer(): Float32Array {
    return this.#free.pop() ?? new Float32Array(this.#options.boundaryElems)
  }

  #tensorOf(values: Float32Array): StageTensor {
    const release = () => void this.#free.push(values)
    return { elems: values.length, copyTo: out => out.set(values), release }
  }
}

const keyOf = ({ microbatch, slice }: Piece) => `${microbatch} ${slice}`

const never = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))

/**
 * How much later than asked a thread usually wakes up. Not more: where the passes of many ranks end at the same moment, a clock that is looked
 * at takes the core from one who has something to send.
 */
const lateMs = 0.15

/** Blocks the calling thread, as kernels do, until the work is done and `ms` are over: sleeps for most of them, and looks at the clock for the last. */
export function pacedFor<T>(ms: number, work: () => T): T {
  const untilMs = performance.now() + ms
  const done = work()
  const leftMs = untilMs - performance.now()
  if (leftMs > lateMs) Atomics.wait(never, 0, 0, leftMs - lateMs)
  while (performance.now() < untilMs);
  return done
}
