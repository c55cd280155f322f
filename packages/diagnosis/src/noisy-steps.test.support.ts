import { type Random, seededRandom } from '@skein/core'
import { noSteps, observeStep, type StragglerChange, type StragglerState } from './stragglers.ts'

export interface NoisySteps {
  readonly numMembers: number
  /** Coefficient of variation of a step's time. */
  readonly cv: number
  readonly seed: number
  /** w0 takes `factor` times as long in the steps [from, to). */
  readonly slow?: { readonly factor: number; readonly from: number; readonly to?: number }
}

/** A state over which steps pass: lognormal noise, spikes of 3 in one of 100 steps of any rank, 20 of 100 steps slow for all. */
export class NoisyRun {
  state: StragglerState = noSteps
  step = 0
  readonly changes: (StragglerChange & { readonly step: number })[] = []
  readonly #options: NoisySteps
  readonly #random: Random

  constructor(options: NoisySteps) {
    this.#options = options
    this.#random = seededRandom(options.seed, options.numMembers, Math.round(options.cv * 1000))
  }

  run(numSteps: number): this {
    const { numMembers, cv, slow } = this.#options
    const sigma = Math.sqrt(Math.log(1 + cv * cv))
    for (let i = 0; i < numSteps; i++) {
      const step = ++this.step
      const common = step % 100 < 20 ? 2 : 1
      const isSlow = slow !== undefined && step >= slow.from && step < (slow.to ?? Infinity)
      const members = Array.from({ length: numMembers }, (_, rank) => {
        const spike = this.#random.nextFloat() < 0.01 ? 3 : 1
        const noise = Math.exp(sigma * this.#random.nextNormal())
        const factor = rank === 0 && isSlow ? slow.factor : 1
        return { workerId: `w${rank}`, samples: 4, computeMs: 80 * common * spike * noise * factor }
      })
      const { state, changes } = observeStep(this.state, { step, members })
      this.state = state
      this.changes.push(...changes.map(change => ({ ...change, step })))
    }
    return this
  }
}
