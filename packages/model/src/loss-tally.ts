import type { Piece } from './pipeline-stage.ts'
import type { LossSum } from './trainable-model.ts'

/** Losses by piece. Their sum has one order, whatever the order in which the pieces came. */
export class LossTally {
  readonly #losses: (Piece & { readonly loss: number })[] = []

  add(piece: Piece, loss: number): void {
    this.#losses.push({ ...piece, loss })
  }

  clear(): void {
    this.#losses.length = 0
  }

  sum(samplesPerMicrobatch: number): LossSum {
    const inOrder = this.#losses.toSorted((a, b) => a.microbatch - b.microbatch || a.slice - b.slice)
    return {
      lossSum: inOrder.reduce((sum, { loss }) => sum + loss, 0),
      samples: new Set(inOrder.map(({ microbatch }) => microbatch)).size * samplesPerMicrobatch,
    }
  }
}
