import type { KernelDevice } from '@skein/device'
import type { UnitProfile, VocabularyProfile } from '@skein/planner'
import { ShardEnds } from '../profile-shard.ts'
import { profileBetween, profileUnits, type ProfileOptions } from '../profile-units.ts'
import type { Gpt2Config } from './config.ts'
import { Gpt2Pipeline } from './gpt2-pipeline.ts'
import { keysValuesBytes } from './sliced-microbatch.ts'
import { gpt2Units } from './units.ts'

export interface Gpt2ToProfile {
  readonly config: Gpt2Config
  readonly device: KernelDevice
  /** Of each microbatch. */
  readonly samples: number
}

/** Embedding, block, head. */
type Measured = [UnitProfile, UnitProfile, UnitProfile]

const stages = [0, 1, 2]

/** What each unit of a GPT-2 costs on this device. Its blocks are all alike: one of them is measured. */
export function profileGpt2({ config, device, samples }: Gpt2ToProfile, options: ProfileOptions): UnitProfile[] {
  const oneBlock = { ...config, layers: 1 }
  const model = new Gpt2Pipeline({ config: oneBlock, device, samples, stages, cuts: stages.map(() => 1) })
  try {
    const [embedding, block, head] = profileUnits(
      { model, names: gpt2Units(oneBlock), batch: batchOf(config, samples) },
      options,
    ) as Measured
    const blocks = gpt2Units(config)
      .slice(1, -1)
      .map(name => ({ ...block, name, sharedBytes: keysValuesBytes(config, samples) }))
    return [embedding, ...blocks, head]
  } finally {
    model.dispose()
  }
}

/** What a rank's part of its vocabulary costs on this device, dealt out over so many, and what embedding and head do then. */
export function profileGpt2Vocabulary(
  { config, device, samples, ranks }: Gpt2ToProfile & { readonly ranks: number },
  options: ProfileOptions,
): VocabularyProfile {
  const oneBlock = { ...config, layers: 1 }
  // No part has more rows than the last one.
  const place = { part: ranks - 1, parts: ranks }
  const cuts = stages.map(() => 1)
  const model = new Gpt2Pipeline({ config: oneBlock, device, samples, stages, cuts, vocabulary: place })
  try {
    const part = model.vocabulary as NonNullable<typeof model.vocabulary>
    const ends = new ShardEnds(part, ranks, options.clock)
    const [first, , last] = profileBetween(
      ends,
      { model, names: gpt2Units(oneBlock), batch: batchOf(config, samples) },
      options,
    ) as Measured
    const rowBytes = model.layout.tensors.reduce(
      (sum, { rows, elems }) => sum + (rows === undefined ? 0 : 4 * elems),
      0,
    )
    return {
      ...ends.costs(),
      ranks,
      // Rows count as those of the stages of their rank, and are no unit's.
      first: withoutRows(first, rowBytes),
      last: { ...withoutRows(last, rowBytes), boundaryBytes: 0 },
      parameterBytes: rowBytes,
      boundaryBytes: 4 * part.elems,
      foundBytes: 4 * part.foundElems,
    }
  } finally {
    model.dispose()
  }
}

function withoutRows({ tied: _rows, ...unit }: UnitProfile, bytes: number): UnitProfile {
  return { ...unit, parameterBytes: unit.parameterBytes - bytes }
}

function batchOf({ context, vocab }: Gpt2Config, samples: number) {
  const shape = [samples, context]
  const data = Int32Array.from({ length: samples * context }, (_, i) => i % vocab)
  return { samples, arrays: { inputs: { data, shape }, targets: { data, shape } } }
}
