import type { Clock } from '@skein/core'
import type { VocabularyProfile } from '@skein/planner'
import type { StageStep, StageTensor, VocabularyPart } from './pipeline-stage.ts'
import { median, type PipeEnds } from './profile-units.ts'

type ShardPass = 'lookup' | 'logits' | 'gradients' | 'lookupGrad'

/** A rank's part of a vocabulary at the ends of a pipe whose stages are measured: measured with them, as if all other parts were like it. */
export class ShardEnds implements PipeEnds {
  readonly #part: VocabularyPart
  readonly #ranks: number
  readonly #clock: Clock
  #times = noTimes()
  #keptBytes = 0

  constructor(part: VocabularyPart, ranks: number, clock: Clock) {
    this.#part = part
    this.#ranks = ranks
    this.#clock = clock
  }

  begin(step: StageStep): void {
    this.#part.begin(step)
  }

  input(microbatch: number): StageTensor {
    return this.#timed('lookup', () => this.#part.lookUp(microbatch))
  }

  loss(microbatch: number, y: StageTensor | undefined): StageTensor {
    const { foundElems } = this.#part
    const own = new Float32Array(foundElems)
    const before = this.#part.heldBytes()
    this.#timed('logits', () => this.#part.logits(microbatch, y as StageTensor, own, 'activations'))
    this.#keptBytes = this.#part.heldBytes() - before
    const ofAll = new Float32Array(this.#ranks * foundElems)
    for (let rank = 0; rank < this.#ranks; rank++) ofAll.set(own, rank * foundElems)
    return this.#timed('gradients', () => {
      const dy = this.#part.inputGrad(microbatch, ofAll)
      this.#part.weightGrad(microbatch)
      return dy
    })
  }

  output(microbatch: number, dx: StageTensor | undefined): void {
    this.#timed('lookupGrad', () => this.#part.lookUpGrad(microbatch, dx as StageTensor))
  }

  forgetTimes(): void {
    this.#times = noTimes()
  }

  costs(): Pick<VocabularyProfile, ShardPass | 'activationBytes'> {
    const { lookup, logits, gradients, lookupGrad } = this.#times
    return {
      lookup: median(lookup),
      logits: median(logits),
      gradients: median(gradients),
      lookupGrad: median(lookupGrad),
      activationBytes: this.#keptBytes,
    }
  }

  #timed<T>(pass: ShardPass, run: () => T): T {
    const start = this.#clock.now()
    const result = run()
    this.#times[pass].push(this.#clock.now() - start)
    return result
  }
}

const noTimes = (): Record<ShardPass, number[]> => ({ lookup: [], logits: [], gradients: [], lookupGrad: [] })
