import { type Shape, SkeinError } from '@skein/core'
import { ModelErrors } from '../errors.ts'
import { type FlatLayout, flatLayout, type ParamSpec, placeOf } from '../flat-layout.ts'
import type { PipelineModel } from '../pipeline-stage.ts'
import { chainOf } from './chain.ts'
import type { LayersModelOptions } from './layers-model.ts'
import { LayersStage } from './layers-stage.ts'
import { checkWeights, type TfLayer, variableOf, type Weight, weightsByName } from './weights.ts'

export interface LayersPipelineOptions extends LayersModelOptions {
  /** Of each microbatch. */
  readonly samples: number
  /** This rank's. */
  readonly stages: readonly number[]
  /** Layers of each stage of the pipe, first to last: from `cutsAt`, or from measured costs. */
  readonly cuts: readonly number[]
  /** Refused where there are several: what a layer does along the sequence is its own business. */
  readonly slices?: readonly number[]
}

/** A rank's stages of a `tf.LayersModel` whose layers form a chain. The weights of other ranks' layers are freed at once. */
export class LayersPipeline implements PipelineModel {
  readonly numStages: number
  readonly layout: FlatLayout
  readonly stages: ReadonlyMap<number, LayersStage>
  readonly initialIsRandom = true
  readonly #wholeLayout: FlatLayout

  /** @throws SKEIN_MODEL_CUT, SKEIN_MODEL_NO_WEIGHTS, SKEIN_MODEL_UNTRAINED_STATE, SKEIN_MODEL_CONSTRAINT */
  constructor(options: LayersPipelineOptions) {
    const { tf, model, stages, cuts, samples, inputs = ['inputs'], slices = [], loss } = options
    checkWeights(model)
    if (slices.length > 1) throw noSlices(model.name, slices)
    const runs = runsOf(chainOf(tf, model), cuts)
    for (const stage of stages) if (runs[stage] === undefined) throw noStage(stage, runs.length)
    const weights = weightsByName(runs.flat().flatMap(layer => layer.trainableWeights))
    const weightsOf = (layers: readonly TfLayer[]) => {
      const own = new Set(layers.flatMap(layer => layer.trainableWeights))
      return new Map([...weights].filter(([, weight]) => own.has(weight)))
    }
    const specs = runs.flatMap((layers, stage) => specsOf(weightsOf(layers), stage))
    this.numStages = runs.length
    this.#wholeLayout = flatLayout(specs)
    this.layout = flatLayout(specs.filter(({ segment }) => stages.includes(segment)))
    const boundaries = runs.map(layers => outputShape(layers.at(-1) as TfLayer, samples))
    const stageOf = (stage: number) =>
      new LayersStage({
        tf,
        stage,
        layers: runs[stage] as TfLayer[],
        weights: weightsOf(runs[stage] as TfLayer[]),
        layout: this.layout,
        samples,
        loss,
        ...(stage === 0 ? { input: inputs[0] as string } : { inputShape: boundaries[stage - 1] as Shape }),
        ...(stage < runs.length - 1 && { outputShape: boundaries[stage] as Shape }),
      })
    this.stages = new Map(stages.map(stage => [stage, stageOf(stage)]))
    for (const [stage, layers] of runs.entries()) if (!stages.includes(stage)) free(layers)
  }

  stagesOf(parameter: string): readonly number[] {
    return [placeOf(this.#wholeLayout, parameter).segment]
  }

  /** Takes the weights that the model was built with; the seed is the user's business. */
  initialise(params: Float32Array): void {
    params.fill(0)
    for (const stage of this.stages.values()) stage.copyWeightsTo(params)
  }

  dispose(): void {
    for (const stage of this.stages.values()) stage.dispose()
  }
}

/** The names of the layers: what a stage is made of. @throws SKEIN_MODEL_CUT unless they form a chain */
export function layersUnits({ tf, model }: Pick<LayersModelOptions, 'tf' | 'model'>): string[] {
  return chainOf(tf, model).map(layer => layer.name)
}

function runsOf(units: readonly TfLayer[], cuts: readonly number[]): TfLayer[][] {
  const total = cuts.reduce((sum, count) => sum + count, 0)
  if (total !== units.length || cuts.some(count => !Number.isSafeInteger(count) || count < 1)) {
    throw new SkeinError(ModelErrors.CUT, {
      what: `a model of ${units.length} layers was to be cut in stages of ${cuts.join(', ') || 'none'}`,
      why: 'each stage has one layer at least, and all of them together all layers',
      todo: `give the layers of each stage, whole numbers above 0 whose sum is ${units.length}; at most ${units.length} stages`,
      details: { cuts, numUnits: units.length },
    })
  }
  let start = 0
  return cuts.map(count => units.slice(start, (start += count)))
}

function specsOf(weights: ReadonlyMap<string, Weight>, stage: number): ParamSpec[] {
  return [...weights].map(([name, { shape }]) => ({
    name,
    shape: shape as number[],
    decay: shape.length > 1,
    segment: stage,
  }))
}

function free(layers: readonly TfLayer[]): void {
  for (const weight of layers.flatMap(layer => layer.weights)) variableOf(weight).dispose()
}

/** Samples included. */
function outputShape(layer: TfLayer, samples: number): Shape {
  const [, ...dims] = layer.outputShape as (number | null)[]
  if (dims.every(dim => typeof dim === 'number')) return [samples, ...dims]
  throw new SkeinError(ModelErrors.CUT, {
    what: `the output of the layer ${layer.name} is [${[samples, ...dims].join(', ')}], of no fixed shape`,
    why: 'stages send tensors of fixed shapes',
    todo: 'give the model an input shape without open dims behind the first',
    details: { layer: layer.name, shape: layer.outputShape },
  })
}

function noStage(stage: number, numStages: number): SkeinError {
  return new SkeinError(ModelErrors.CUT, {
    what: `stage ${stage} was asked of a pipe with ${numStages} stages`,
    todo: `name stages from 0 to ${numStages - 1}`,
    details: { stage, numStages },
  })
}

function noSlices(model: string, slices: readonly number[]): SkeinError {
  return new SkeinError(ModelErrors.CUT, {
    what: `the model ${model} was to be run in ${slices.length} slices of its sequence`,
    why: 'it is not known which dim of a tf.LayersModel is a sequence, nor which of its layers look along it',
    todo: 'take a schedule without slices; gpt2 has them',
    details: { slices },
  })
}
