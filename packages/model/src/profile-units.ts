import type { Clock } from '@skein/core'
import type { UnitProfile } from '@skein/planner'
import type { Keeps, PipelineModel, PipelineStage, StageStep, StageTensor } from './pipeline-stage.ts'
import type { Batch } from './trainable-model.ts'

export interface ProfileOptions {
  readonly clock: Clock
  /** At most so many measured rounds, each of all passes of all units; their median counts. Default 7. */
  readonly maxRounds?: number
  /** No round begins after so long. Two are always made: one to warm up (passes are compiled at their first use), one to measure. Default 5,000. */
  readonly budgetMs?: number
}

export interface UnitsToProfile {
  /** One unit a stage, and all stages of the pipe. */
  readonly model: PipelineModel
  /** Of the units. */
  readonly names: readonly string[]
  /** One microbatch. Losses and gradients are of no interest, so its values are not either. */
  readonly batch: Batch
}

/**
 * What each unit of a model costs on this device: what `partition` and `planPipeline` of @skein/planner go by. Passes run as in a step, one microbatch
 * at a time: BW in one round's first half, B and W apart in its second.
 */
export function profileUnits({ model, names, batch }: UnitsToProfile, options: ProfileOptions): UnitProfile[] {
  const { clock, maxRounds = 7, budgetMs = 5000 } = options
  const stages = Array.from({ length: model.numStages }, (_, stage) => model.stages.get(stage) as PipelineStage)
  const params = new Float32Array(model.layout.totalElems)
  model.initialise(params, 1)
  const step: StageStep = { batch: () => batch, params, gradients: new Float32Array(params.length) }
  const measures = stages.map(() => new UnitMeasures())
  const end = clock.now() + budgetMs
  try {
    for (let round = 0; round <= maxRounds && (round < 2 || clock.now() < end); round++) {
      runRound(stages, step, clock, measures)
      if (round === 0) for (const measure of measures) measure.forgetTimes()
    }
  } finally {
    for (const stage of stages) stage.reset()
  }
  return measures.map((measure, unit) => ({
    name: names[unit] as string,
    ...measure.costs(),
    boundaryBytes: 4 * (stages[unit] as PipelineStage).outputElems(0),
    parameterBytes: parameterBytes(model, unit),
  }))
}

type TimedPass = 'forward' | 'inputGrad' | 'weightGrad' | 'backward'

/** Of one unit. */
class UnitMeasures {
  #times: Record<TimedPass, number[]> = noTimes()
  #afterForward = 0
  #afterInputGrad = 0

  time(pass: TimedPass, ms: number): void {
    this.#times[pass].push(ms)
  }

  /** Bytes that the piece keeps; the same in every round. */
  held(after: 'forward' | 'inputGrad', bytes: number): void {
    if (after === 'forward') this.#afterForward = bytes
    else this.#afterInputGrad = bytes
  }

  forgetTimes(): void {
    this.#times = noTimes()
  }

  costs() {
    const { forward, inputGrad, weightGrad, backward } = this.#times
    return {
      forward: median(forward),
      inputGrad: median(inputGrad),
      weightGrad: median(weightGrad),
      backward: median(backward),
      activationBytes: this.#afterForward,
      gradientBytes: this.#afterInputGrad - this.#afterForward,
    }
  }
}

const noTimes = (): Record<TimedPass, number[]> => ({ forward: [], inputGrad: [], weightGrad: [], backward: [] })

function runRound(
  stages: readonly PipelineStage[],
  step: StageStep,
  clock: Clock,
  measures: readonly UnitMeasures[],
): void {
  const timed = <R>(stage: PipelineStage, pass: TimedPass, run: () => R): R => {
    const start = clock.now()
    const result = run()
    measures[stage.stage]?.time(pass, clock.now() - start)
    return result
  }
  for (const stage of stages) stage.begin(step)
  const fused = { microbatch: 0, slice: 0 }
  const apart = { microbatch: 1, slice: 0 }
  const keeps: Keeps = 'activations'
  let x: StageTensor | undefined
  for (const stage of stages) x = timed(stage, 'forward', () => stage.forward(fused, x, keeps))
  let dy: StageTensor | undefined
  for (const stage of stages.toReversed()) dy = timed(stage, 'backward', () => stage.backward(fused, dy))
  for (const stage of stages) {
    x = timed(stage, 'forward', () => stage.forward(apart, x, keeps))
    measures[stage.stage]?.held('forward', stage.heldBytes())
  }
  for (const stage of stages.toReversed()) {
    dy = timed(stage, 'inputGrad', () => stage.inputGrad(apart, dy))
    measures[stage.stage]?.held('inputGrad', stage.heldBytes())
  }
  for (const stage of stages) timed(stage, 'weightGrad', () => stage.weightGrad(apart))
}

/** One that several stages have is counted in each: each holds it. */
function parameterBytes(model: PipelineModel, stage: number): number {
  const own = model.layout.tensors.filter(({ name }) => model.stagesOf(name).includes(stage))
  return own.reduce((sum, { elems }) => sum + 4 * elems, 0)
}

function median(values: readonly number[]): number {
  const ascending = values.toSorted((a, b) => a - b)
  const half = ascending.length >> 1
  const upper = ascending[half] as number
  return ascending.length % 2 === 1 ? upper : ((ascending[half - 1] as number) + upper) / 2
}
