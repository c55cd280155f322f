import { SkeinError } from '@skein/core'
import type { KernelDevice } from '@skein/device'
import { ModelErrors } from '../errors.ts'
import { type FlatLayout, flatLayout, placeOf } from '../flat-layout.ts'
import type { PipelineModel } from '../pipeline-stage.ts'
import { checkSizes, type Gpt2Config, gpt2Params, names, type SegmentRange } from './config.ts'
import { segmentParamNames } from './flat-tensors.ts'
import { Gpt2Stage } from './gpt2-stage.ts'
import { initialiseGpt2 } from './initialise.ts'
import { gpt2StageRanges } from './units.ts'

export interface Gpt2PipelineOptions {
  readonly config: Gpt2Config
  /** Owned by the caller, who disposes it after the model. */
  readonly device: KernelDevice
  /** Of each microbatch. */
  readonly samples: number
  /** This rank's. */
  readonly stages: readonly number[]
  /** Units of each stage of the pipe, first to last: from `gpt2Cuts`, from `cutsAt`, or from measured costs. */
  readonly cuts: readonly number[]
  /** Tokens of each slice of the sequence, see `sliceLengths`. Default: one slice, the context. */
  readonly slices?: readonly number[]
}

/** The `segment` of the bucket whose parameter several stages of the pipe share: complete after all others. */
export const sharedSegment = -1

/** A rank's stages of a GPT-2 that is cut at its blocks. The token embedding is tied: the first stage has it, and the last. */
export class Gpt2Pipeline implements PipelineModel {
  readonly numStages: number
  readonly layout: FlatLayout
  readonly stages: ReadonlyMap<number, Gpt2Stage>
  readonly initialIsRandom = false
  readonly #config: Gpt2Config
  readonly #wholeLayout: FlatLayout
  readonly #stagesOf: ReadonlyMap<string, readonly number[]>

  /** @throws SKEIN_MODEL_SIZES, SKEIN_MODEL_CUT */
  constructor({ config, device, samples, stages, cuts, slices = [config.context] }: Gpt2PipelineOptions) {
    checkSizes(config)
    const ranges = gpt2StageRanges(config, cuts)
    this.#config = config
    this.numStages = ranges.length
    this.#stagesOf = stagesByParameter(config, ranges)
    const specs = gpt2Params(config, ranges).map(spec => {
      return spec.name === names.wte && ranges.length > 1 ? { ...spec, segment: sharedSegment } : spec
    })
    const isHere = (name: string) => this.stagesOf(name).some(stage => stages.includes(stage))
    this.#wholeLayout = flatLayout(specs)
    this.layout = flatLayout(specs.filter(spec => isHere(spec.name)))
    this.stages = new Map(
      stages.map(stage => {
        const range = ranges[stage] ?? noStage(stage, ranges.length)
        return [stage, new Gpt2Stage({ device, layout: this.layout, config, range, samples, slices })]
      }),
    )
  }

  stagesOf(parameter: string): readonly number[] {
    return this.#stagesOf.get(placeOf(this.#wholeLayout, parameter).name) ?? []
  }

  initialise(params: Float32Array, seed: number): void {
    initialiseGpt2(params, this.layout, this.#config, seed)
  }

  dispose(): void {
    for (const stage of this.stages.values()) stage.dispose()
  }
}

function stagesByParameter(config: Gpt2Config, ranges: readonly SegmentRange[]): Map<string, number[]> {
  const stages = new Map<string, number[]>()
  for (const range of ranges) {
    for (const name of segmentParamNames(config, range)) {
      stages.set(name, [...(stages.get(name) ?? []), range.index])
    }
  }
  return stages
}

function noStage(stage: number, numStages: number): never {
  throw new SkeinError(ModelErrors.CUT, {
    what: `stage ${stage} was asked of a pipe with ${numStages} stages`,
    todo: `name stages from 0 to ${numStages - 1}`,
    details: { stage, numStages },
  })
}
