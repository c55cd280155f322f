import type { Costs, Kept, PassTimes, VocabularyTimes } from '@skein/schedule'
import { perStage } from './partition.ts'

/** What a unit of the model (embedding, block, head, layer) was measured to take for one microbatch; times in ms. */
export interface UnitProfile {
  /** As in 'transformer.h.4'. */
  readonly name: string
  readonly forward: number
  readonly inputGrad: number
  readonly weightGrad: number
  /** Both gradients in one pass. */
  readonly backward: number
  /** Kept from the forward until the weight gradient, what it takes from the unit before among it. */
  readonly activationBytes: number
  /** What of that other slices read where the sequence is cut: keys and values. Default 0. */
  readonly sharedBytes?: number
  /**
   * Kept beside them between the input gradient and the weight gradient, where these are passes of their own; below zero where the
   * input gradient frees more than it adds. Default 0.
   */
  readonly gradientBytes?: number
  /** Of what it hands on to the next unit, and gets the gradient of; 0 for the last. */
  readonly boundaryBytes: number
  /** Of float32 parameters. */
  readonly parameterBytes: number
  /** Those of these bytes that other units have too, by parameter: a rank with several such units has them once. */
  readonly tied?: Readonly<Record<string, number>>
}

/**
 * A vocabulary that is dealt out over `ranks`: what the part of one takes for a microbatch, times in ms, and what is left of the units that had it
 * whole.
 */
export interface VocabularyProfile extends VocabularyTimes {
  readonly ranks: number
  /** Instead of the first unit: it gets what was looked up. */
  readonly first: UnitProfile
  /** Instead of the last unit: it gives what logits are made of. */
  readonly last: UnitProfile
  /** Kept on each rank between the logits and their gradients. */
  readonly activationBytes: number
  /** Of a rank's rows. */
  readonly parameterBytes: number
  /** Of what the first stage gets and the last one gives, and of the gradients of these. */
  readonly boundaryBytes: number
  /** Of what a rank finds of its logits: it goes to all others. */
  readonly foundBytes: number
}

/** What was measured of links and devices. */
export interface MachineProfile {
  /** From the end of a pass until its result has begun to arrive elsewhere, in ms. */
  readonly hopMs: number
  readonly bytesPerMs: number
  /** Device time of a message, on each of its two ends. */
  readonly messageMs: number
  readonly messageMsPerByte: number
  /** Device time of a pass of one unit that does not depend on how long its piece of the sequence is. */
  readonly dispatchMs: number
  /** Of activations to the host and back. Absent: there is no host to bring them to. */
  readonly copyBytesPerMs?: number
}

/** A model cut in stages. */
export interface StageProfiles {
  /** Units of each stage. */
  readonly counts: readonly number[]
  readonly passes: readonly PassTimes[]
  readonly kept: Kept
  /** Of what each stage hands on. */
  readonly boundaryBytes: readonly number[]
  /** Those that no other stage has. */
  readonly parameterBytes: readonly number[]
  /** The others, by parameter. */
  readonly tied: readonly ReadonlyMap<string, number>[]
}

export function stagesOf(
  units: readonly UnitProfile[],
  counts: readonly number[],
  machine: MachineProfile,
  vocabulary?: VocabularyProfile,
): StageProfiles {
  const sum = (of: (unit: UnitProfile) => number) => perStage(counts, units.map(of))
  const [forward, inputGrad, weightGrad, backward, activations, gradients, shared, parameterBytes] = [
    sum(unit => unit.forward),
    sum(unit => unit.inputGrad),
    sum(unit => unit.weightGrad),
    sum(unit => unit.backward),
    sum(unit => unit.activationBytes),
    sum(unit => unit.gradientBytes ?? 0),
    sum(unit => unit.sharedBytes ?? 0),
    sum(({ parameterBytes: all, tied = {} }) => Object.values(tied).reduce((rest, bytes) => rest - bytes, all)),
  ] as const
  const ends = counts.map((_, stage) => counts.slice(0, stage + 1).reduce((all, count) => all + count, 0))
  const boundaryBytes = ends.map(end => units[end - 1]?.boundaryBytes ?? 0)
  return {
    counts,
    passes: counts.map((_, stage) => ({
      forward: forward[stage] as number,
      inputGrad: inputGrad[stage] as number,
      weightGrad: weightGrad[stage] as number,
      backward: backward[stage] as number,
      copy: machine.copyBytesPerMs === undefined ? 0 : (activations[stage] as number) / machine.copyBytesPerMs,
    })),
    kept: {
      activations,
      gradients,
      shared,
      // Of a first stage the input are token numbers, and no activation, unless others have looked them up.
      inputs: boundaryBytes.map((_, stage) => boundaryBytes[stage - 1] ?? vocabulary?.boundaryBytes ?? 0),
      ...(vocabulary === undefined ? {} : { vocabulary: vocabulary.activationBytes }),
    },
    boundaryBytes,
    parameterBytes,
    tied: counts.map((count, stage) => {
      const end = ends[stage] as number
      return new Map(units.slice(end - count, end).flatMap(unit => Object.entries(unit.tied ?? {})))
    }),
  }
}

/** What the simulator needs to know, of a step in such stages on so many ranks, with the sequence in so many slices. */
export function costsOf(
  stages: StageProfiles,
  machine: MachineProfile,
  {
    ranks,
    slices,
    vocabulary,
  }: { readonly ranks: number; readonly slices: number; readonly vocabulary?: VocabularyProfile | undefined },
): Costs {
  const { counts, passes, boundaryBytes } = stages
  const messageOf = (bytes: number) => machine.messageMs + bytes * machine.messageMsPerByte
  /** What an end of the pipe gives to all ranks, or gets of them, is a message more. */
  const exchanged = (stage: number) => {
    const ends = Number(stage === 0) + Number(stage === counts.length - 1)
    return vocabulary === undefined ? 0 : ends * messageOf(vocabulary.boundaryBytes)
  }
  // A pass of a slice takes its part of the time, and the whole of what each pass takes anyway.
  const sliced = passes.map(({ forward, inputGrad, weightGrad, backward = 0, copy = 0 }, stage): PassTimes => {
    const again = (slices - 1) * machine.dispatchMs * (counts[stage] as number)
    return {
      forward: short(forward + again + exchanged(stage)),
      inputGrad: short(inputGrad + again + exchanged(stage)),
      weightGrad: short(weightGrad + again),
      backward: short(backward + again + exchanged(stage)),
      copy,
    }
  })
  const mean = (of: (times: PassTimes) => number) => sliced.reduce((sum, times) => sum + of(times), 0) / ranks
  const messageBytes = Math.max(0, ...boundaryBytes.slice(0, -1)) / slices
  return {
    forward: mean(times => times.forward),
    inputGrad: mean(times => times.inputGrad),
    weightGrad: mean(times => times.weightGrad),
    backward: mean(times => times.backward ?? 0),
    stages: sliced,
    hop: machine.hopMs,
    linkBusy: short(messageBytes / machine.bytesPerMs),
    message: short(messageOf(messageBytes)),
    // The thread that dispatches kernels is the one that copies.
    copyHoldsDevice: true,
    ...(vocabulary === undefined ? {} : { vocabulary: shardTimes(vocabulary, messageOf(vocabulary.boundaryBytes)) }),
  }
}

/** Each of the passes gives or takes a tensor of the size of a boundary. */
function shardTimes({ lookup, logits, gradients, lookupGrad }: VocabularyTimes, message: number): VocabularyTimes {
  return {
    lookup: short(lookup + message),
    logits: short(logits + message),
    gradients: short(gradients + message),
    lookupGrad: short(lookupGrad + message),
  }
}

/** Six digits: as a person can copy them into a job, which then gets the same schedule. */
const short = (ms: number) => Number(ms.toPrecision(6))
