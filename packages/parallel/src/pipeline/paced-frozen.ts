import type { Batch, FrozenPart, StageTensor } from '@skein/model'

export interface PacedFrozenOptions {
  /** Of each layer on one piece, in ms. */
  readonly costs: readonly number[]
  readonly outputElems: number
  /** As of a `PacedStage`. */
  readonly during: <T>(ms: number, work: () => T) => T
}

/** Frozen layers that take their time; what they make of a piece is its number. */
export class PacedFrozen implements FrozenPart {
  readonly outputElems: number
  readonly #options: PacedFrozenOptions

  constructor(options: PacedFrozenOptions) {
    this.outputElems = options.outputElems
    this.#options = options
  }

  begin(_batch: (piece: number) => Batch): void {}

  run(layer: number, piece: number): StageTensor | undefined {
    const { costs, during, outputElems } = this.#options
    return during(costs[layer] as number, () => {
      if (layer < costs.length - 1) return undefined
      return { elems: outputElems, copyTo: out => void out.fill(piece), release: () => undefined }
    })
  }

  heldBytes(): number {
    return 0
  }

  reset(): void {}
}
