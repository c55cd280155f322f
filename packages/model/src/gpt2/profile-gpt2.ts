import type { KernelDevice } from '@skein/device'
import type { UnitProfile } from '@skein/planner'
import { type ProfileOptions, profileUnits } from '../profile-units.ts'
import type { Gpt2Config } from './config.ts'
import { Gpt2Pipeline } from './gpt2-pipeline.ts'
import { gpt2Units } from './units.ts'

export interface Gpt2ToProfile {
  readonly config: Gpt2Config
  readonly device: KernelDevice
  /** Of each microbatch. */
  readonly samples: number
}

/** What each unit of a GPT-2 costs on this device. Its blocks are all alike: one of them is measured. */
export function profileGpt2({ config, device, samples }: Gpt2ToProfile, options: ProfileOptions): UnitProfile[] {
  const oneBlock = { ...config, layers: 1 }
  const stages = [0, 1, 2]
  const model = new Gpt2Pipeline({ config: oneBlock, device, samples, stages, cuts: stages.map(() => 1) })
  const shape = [samples, config.context]
  const data = Int32Array.from({ length: samples * config.context }, (_, i) => i % config.vocab)
  const batch = { samples, arrays: { inputs: { data, shape }, targets: { data, shape } } }
  try {
    const [embedding, block, head] = profileUnits({ model, names: gpt2Units(oneBlock), batch }, options) as [
      UnitProfile,
      UnitProfile,
      UnitProfile,
    ]
    const blocks = gpt2Units(config)
      .slice(1, -1)
      .map(name => ({ ...block, name }))
    return [embedding, ...blocks, head]
  } finally {
    model.dispose()
  }
}
