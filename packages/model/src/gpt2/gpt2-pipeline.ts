import { SkeinError } from '@skein/core'
import type { KernelDevice } from '@skein/device'
import { ModelErrors } from '../errors.ts'
import { type FlatLayout, flatLayout, type ParamSpec, placeOf } from '../flat-layout.ts'
import { type VocabShard, vocabShards } from '../layers/sharded-vocab.ts'
import type { PipelineModel } from '../pipeline-stage.ts'
import { checkSizes, type Gpt2Config, gpt2Params, names, type SegmentRange } from './config.ts'
import { segmentParamNames } from './flat-tensors.ts'
import { Gpt2Stage } from './gpt2-stage.ts'
import { Gpt2Vocabulary } from './gpt2-vocabulary.ts'
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
  /** Where the vocabulary is dealt out over so many ranks: which part is here. Without slices. */
  readonly vocabulary?: { readonly part: number; readonly parts: number }
}

/** The `segment` of the bucket whose parameter several stages of the pipe share: complete after all others. */
export const sharedSegment = -1

/**
 * A rank's stages of a GPT-2 that is cut at its blocks. The token embedding is tied: the first stage has it, and the last. With a sharded
 * vocabulary every rank has a run of its rows, under the same name, and no other rank of the pipe has them.
 */
export class Gpt2Pipeline implements PipelineModel {
  readonly numStages: number
  readonly layout: FlatLayout
  readonly stages: ReadonlyMap<number, Gpt2Stage>
  readonly vocabulary: Gpt2Vocabulary | undefined
  readonly initialIsRandom = false
  readonly #config: Gpt2Config
  readonly #wholeLayout: FlatLayout
  readonly #shard: VocabShard | undefined
  readonly #stagesOf: Map<string, readonly number[]>

  /** @throws SKEIN_MODEL_SIZES, SKEIN_MODEL_CUT */
  constructor({ config, device, samples, stages, cuts, slices = [config.context], vocabulary }: Gpt2PipelineOptions) {
    checkSizes(config)
    this.#shard = vocabulary && shardOf(config, vocabulary, slices)
    const whole = gpt2StageRanges(config, cuts)
    const ranges = this.#shard === undefined ? whole : whole.map(withoutVocabulary)
    this.#config = config
    this.numStages = ranges.length
    this.#stagesOf = stagesByParameter(config, ranges)
    // The gradient of a shard is there when all stages of its rank are done, and the ranks that sum it are those that have these stages.
    if (this.#shard !== undefined)
      this.#stagesOf.set(
        names.wte,
        [...stages].sort((a, b) => a - b),
      )
    const specs = gpt2Params(config, ranges).map(spec => (spec.name === names.wte ? this.#wteSpec(spec) : spec))
    const isHere = (name: string) => this.stagesOf(name).some(stage => stages.includes(stage))
    this.#wholeLayout = flatLayout(specs)
    this.layout = flatLayout(specs.filter(spec => isHere(spec.name)))
    this.stages = new Map(
      stages.map(stage => {
        const range = ranges[stage] ?? noStage(stage, ranges.length)
        return [stage, new Gpt2Stage({ device, layout: this.layout, config, range, samples, slices })]
      }),
    )
    if (this.#shard !== undefined) {
      this.vocabulary = new Gpt2Vocabulary({ device, layout: this.layout, config, samples, shard: this.#shard })
    }
  }

  stagesOf(parameter: string): readonly number[] {
    return this.#stagesOf.get(placeOf(this.#wholeLayout, parameter).name) ?? []
  }

  initialise(params: Float32Array, seed: number): void {
    initialiseGpt2(params, this.layout, this.#config, seed)
  }

  #wteSpec(whole: ParamSpec): ParamSpec {
    if (this.#shard === undefined) return this.numStages > 1 ? { ...whole, segment: sharedSegment } : whole
    const { start, size } = this.#shard
    const { vocab, width } = this.#config
    return { ...whole, shape: [size, width], segment: sharedSegment, rows: { start, of: vocab } }
  }

  dispose(): void {
    for (const stage of this.stages.values()) stage.dispose()
    this.vocabulary?.dispose()
  }
}

/** The same blocks, without look-up and logits. */
function withoutVocabulary(range: SegmentRange): SegmentRange {
  return { ...range, isFirst: false, isLast: false, hasPositions: range.isFirst, hasFinalNorm: range.isLast }
}

function shardOf(
  config: Gpt2Config,
  { part, parts }: NonNullable<Gpt2PipelineOptions['vocabulary']>,
  slices: readonly number[],
): VocabShard {
  const shard = vocabShards(config.vocab, parts)[part]
  if (shard !== undefined && shard.size > 0 && slices.length === 1) return shard
  throw new SkeinError(ModelErrors.CUT, {
    what: `part ${part} of ${parts} of a vocabulary of ${config.vocab} was asked for, with the sequence in ${slices.length}`,
    why: 'each part has a word at least, and its passes are those of whole sequences',
    todo: `ask for one of as many parts as ranks, at most ${config.vocab}, and one slice`,
    details: { part, parts, vocab: config.vocab, slices },
  })
}

function stagesByParameter(config: Gpt2Config, ranges: readonly SegmentRange[]): Map<string, readonly number[]> {
  const stages = new Map<string, readonly number[]>()
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
