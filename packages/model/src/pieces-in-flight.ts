import type { Shape } from '@skein/core'
import type { KeptTensors } from './kept-tensors.ts'
import type { Piece } from './pipeline-stage.ts'
import { outOfOrder } from './stage-order.ts'

export interface PieceInFlight<T extends { readonly shape: Shape }> {
  readonly kept: KeptTensors<T>
  /** What has to come next; BW may stand for B and W. */
  awaits: 'recompute' | 'inputGrad' | 'weightGrad'
}

/** The pieces that are between their first pass on a stage and their last, and the order of those passes. */
export class PiecesInFlight<T extends { readonly shape: Shape }, P extends PieceInFlight<T>> {
  readonly #stage: number
  readonly #pieces = new Map<string, P>()

  constructor(stage: number) {
    this.#stage = stage
  }

  /** @throws SKEIN_MODEL_STAGE_ORDER if the piece is in flight */
  refuseAgain(piece: Piece): void {
    if (this.#pieces.has(keyOf(piece))) throw outOfOrder('forward', this.#stage, piece, 'it went forward already')
  }

  add(piece: Piece, state: P): void {
    this.#pieces.set(keyOf(piece), state)
  }

  /** The piece, which is on the device and, where `awaits` is given, has come to that point. @throws SKEIN_MODEL_STAGE_ORDER */
  at(pass: string, piece: Piece, awaits?: P['awaits']): P {
    const state = this.#pieces.get(keyOf(piece))
    const refuse = (why: string) => outOfOrder(pass, this.#stage, piece, why)
    if (state === undefined) throw refuse('it is not in flight: not yet forward, or finished already')
    if (state.kept.isOffloaded) throw refuse('it is offloaded and was not reloaded')
    if (awaits !== undefined && state.awaits !== awaits) throw refuse(`its next pass is ${state.awaits}`)
    return state
  }

  /** @throws SKEIN_MODEL_STAGE_ORDER */
  reload(piece: Piece): void {
    const state = this.#pieces.get(keyOf(piece))
    if (!state?.kept.isOffloaded) throw outOfOrder('reload', this.#stage, piece, 'it is not offloaded')
    state.kept.reload()
  }

  /** Forgets the piece and releases what it kept. */
  finish(piece: Piece): void {
    this.#pieces.get(keyOf(piece))?.kept.release()
    this.#pieces.delete(keyOf(piece))
  }

  /** Bytes on the device. */
  bytes(): number {
    return [...this.#pieces.values()].reduce((sum, { kept }) => sum + kept.bytes(), 0)
  }

  /** Forgets all pieces, releases what they kept, and returns them. */
  clear(): P[] {
    const all = [...this.#pieces.values()]
    for (const { kept } of all) kept.release()
    this.#pieces.clear()
    return all
  }
}

const keyOf = ({ microbatch, slice }: Piece) => `${microbatch}/${slice}`
