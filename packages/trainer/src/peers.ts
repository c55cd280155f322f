import type { Region } from '@skein/simd'

/** What a collective cost, as its executor saw it. */
export interface OpReport {
  readonly durMs: number
  readonly bytesSent: number
}

/** What one step looked like on this worker; the comm thread adds digest, traffic and memory and sends it as the vote. */
export interface StepReport {
  readonly step: number
  /** The parameters after the step, to be digested. Stay untouched until the step is committed. */
  readonly params: Region
  /** Mean loss over the global batch, the same on every rank. */
  readonly loss: number
  /** Global sample numbers [from, to) of the whole step. */
  readonly samples: readonly [number, number]
  /** Those of them that this rank took. */
  readonly took: readonly [number, number]
  /** Target tokens (or samples, where there are no tokens) of the whole step. */
  readonly tokens: number
  readonly stepMs: number
  /** Time in forward, backward and update. */
  readonly computeMs: number
  /** Time this thread stood waiting for reduced gradients after its backward pass. */
  readonly waitMs: number
  readonly liveTensors: number
}

export interface EvaluationReport {
  readonly step: number
  readonly loss: number
  readonly phase: 'untrained' | 'during' | 'final'
}

/**
 * The other workers and the coordinator, as the training loop sees them: implemented over the comm thread.
 *
 * Collectives are issued in the same order on every rank; each borrows its region until its promise settles. After a failure
 * every call rejects with the error that ended the generation.
 */
export interface Peers {
  readonly rank: number
  readonly worldSize: number
  readonly generation: number
  /** This rank's samples of a step: [from, to) within the global batch. To be asked when the step begins: earlier it may still change. */
  shareAt(step: number): readonly [number, number]
  /** @throws what ended the generation, if it is over: to be asked between two pieces of work. */
  check(): void
  /** Sums float32 `region` over all ranks, in place; the same bits everywhere. */
  allReduce(region: Region): Promise<OpReport>
  vote(report: StepReport): void
  /** Settles when the coordinator has the commit record of `step` on disk. */
  committed(step: number): Promise<void>
  /** The last step to make, when the coordinator has asked to stop early. */
  stopAfter(): number | undefined
  /** The last step of this generation, when the coordinator has announced the next one. */
  regroupAfter(): { readonly step: number; readonly saves: boolean } | undefined
  evaluated(report: EvaluationReport): void
}
