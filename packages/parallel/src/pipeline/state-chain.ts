import type { Messages, TensorRegion, Transfer } from '@skein/collective'
import { arenaAlignment, type Region } from '@skein/simd'
import { stateTag } from './message-tag.ts'

/** What an update depends on that no rank knows alone, summed over the ranks of a pipe in their order. */
export interface StepState {
  readonly lossSum: number
  readonly samples: number
  /** Of the gradients; not finite where one of them is not. */
  readonly sumSquares: number
  /** What the first rank had of it. */
  readonly firstSquares: number
}

export interface StateChainOptions {
  /** In the pipe, of so many. */
  readonly rank: number
  readonly ranks: number
  /** The rank in the group of a rank of the pipe. */
  readonly groupRankOf: (rank: number) => number
  readonly messages: Messages
  readonly memory: WebAssembly.Memory
  /** At least `StateChain.bytes`; the chain's alone. */
  readonly region: Region
}

/**
 * The global state of a step without a barrier: up the ranks goes what all before and this one have, so that the last rank knows all, and
 * back down goes what it knows, the verdict, while the next step has begun. Both in float64, with the same bits on every rank.
 * @see Qi et al. 2023, Zero Bubble Pipeline Parallelism, section 4
 */
export class StateChain {
  static readonly bytes = 4 * arenaAlignment
  readonly #options: StateChainOptions
  readonly #fromBelow: Cell
  readonly #toAbove: Cell
  readonly #fromAbove: Cell
  readonly #toBelow: Cell
  /** On the last rank, which has nobody to tell it. */
  #known: StepState | undefined

  constructor(options: StateChainOptions) {
    this.#options = options
    const cell = (index: number) => new Cell(options.memory, options.region.byteOffset + index * arenaAlignment)
    this.#fromBelow = cell(0)
    this.#toAbove = cell(1)
    this.#fromAbove = cell(2)
    this.#toBelow = cell(3)
  }

  /** A step begins: what the rank before this one will pass on has a place, ahead of the next step's messages on the same lane. */
  begin(step: number): void {
    const { rank } = this.#options
    if (rank > 0) this.#receive(this.#fromBelow, rank - 1, stateTag(step, 'partial'))
  }

  /** Adds this rank's, and gives what the ranks up to this one have. @throws what ended the group */
  async passOn(step: number, own: Omit<StepState, 'firstSquares'>): Promise<StepState> {
    const { rank, ranks } = this.#options
    const before = rank === 0 ? undefined : await this.#fromBelow.taken()
    const state: StepState = {
      lossSum: (before?.lossSum ?? 0) + own.lossSum,
      samples: (before?.samples ?? 0) + own.samples,
      sumSquares: (before?.sumSquares ?? 0) + own.sumSquares,
      firstSquares: before?.firstSquares ?? own.sumSquares,
    }
    if (rank === ranks - 1) this.#known = state
    else {
      this.#receive(this.#fromAbove, rank + 1, stateTag(step, 'verdict'))
      await this.#send(this.#toAbove, state, rank + 1, stateTag(step, 'partial'))
    }
    return state
  }

  /** The state of all ranks, once; passed on before it is given. @throws what ended the group */
  async verdict(step: number): Promise<StepState> {
    const { rank } = this.#options
    const state = this.#known ?? (await this.#fromAbove.taken())
    if (rank > 0) await this.#send(this.#toBelow, state, rank - 1, stateTag(step, 'verdict'))
    return state
  }

  #receive(cell: Cell, peer: number, tag: number): void {
    const { messages, groupRankOf } = this.#options
    cell.transfer = messages.recv(cell.region, groupRankOf(peer), tag)
    messages.flush()
  }

  async #send(cell: Cell, state: StepState, peer: number, tag: number): Promise<void> {
    const { messages, groupRankOf } = this.#options
    // Of a step ago: it has left long since.
    await cell.settled()
    cell.values.set([state.lossSum, state.samples, state.sumSquares, state.firstSquares])
    cell.transfer = messages.send(cell.region, groupRankOf(peer), tag)
    messages.flush()
  }
}

/** One message's place. */
class Cell {
  readonly region: TensorRegion
  readonly values: Float64Array
  transfer: Transfer | undefined

  constructor(memory: WebAssembly.Memory, byteOffset: number) {
    this.values = new Float64Array(memory.buffer, byteOffset, 4)
    // Messages carry bytes: a float64 is two elements.
    this.region = { byteOffset, elems: 8, dtype: 'float32' }
  }

  async settled(): Promise<void> {
    if (this.transfer?.isDone === false) await this.transfer.done()
  }

  async taken(): Promise<StepState> {
    if (this.transfer === undefined) throw new Error('the state of a step was asked for before the step')
    await this.settled()
    this.transfer = undefined
    const [lossSum, samples, sumSquares, firstSquares] = this.values as unknown as [number, number, number, number]
    return { lossSum, samples, sumSquares, firstSquares }
  }
}
