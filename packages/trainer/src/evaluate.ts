import type { Dataset } from '@skein/data'
import type { TrainableModel } from '@skein/model'
import type { Peers } from './peers.ts'
import { runsOf } from './share.ts'
import type { TrainingState } from './training-state.ts'

export interface EvaluationContext {
  readonly model: TrainableModel
  readonly dataset: Dataset
  readonly state: TrainingState
  readonly peers: Peers
  readonly batch: { readonly micro: number }
  /** Held-out samples to use, at most. */
  readonly samples: number
}

/** The held-out samples an evaluation uses: always the first ones, in whole microbatches where there are that many. */
export function evaluationSamples(wanted: number, available: number, micro: number): number {
  const count = Math.min(wanted, available)
  return count < micro ? count : count - (count % micro)
}

/** Mean loss over the held-out samples, shared among the ranks microbatch by microbatch; the same bits on every rank. */
export async function evaluate(context: EvaluationContext): Promise<number> {
  const { model, dataset, state, peers, batch } = context
  const count = evaluationSamples(context.samples, dataset.numValSamples, batch.micro)
  let lossSum = 0
  let samples = 0
  for (const [index, numbers] of runsOf(0, count, batch.micro).entries()) {
    if (index % peers.worldSize !== peers.rank) continue
    peers.check()
    const result = model.evaluate(dataset.batch('val', numbers), state.params())
    lossSum += result.lossSum
    samples += result.samples
  }
  const scalars = new Float32Array(state.sharedBuffer, state.scalars.byteOffset, 2)
  scalars[0] = lossSum
  scalars[1] = samples
  if (peers.worldSize > 1) await peers.allReduce({ byteOffset: state.scalars.byteOffset, bytes: state.scalars.bytes })
  return (scalars[0] as number) / (scalars[1] as number)
}
