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
export function profileUnits(units: UnitsToProfile, options: ProfileOptions): UnitProfile[] {
  return profileBetween(noEnds, units, options)
}

/** What comes before the first stage of a pipe and after the last one, by microbatch. */
export interface PipeEnds {
  begin(step: StageStep): void
  input(microbatch: number): StageTensor | undefined
  /** The last stage's output, for its gradient. */
  loss(microbatch: number, y: StageTensor | undefined): StageTensor | undefined
  /** The gradient of `input`. */
  output(microbatch: number, dx: StageTensor | undefined): void
  /** The first round is over, in which passes are compiled. */
  forgetTimes(): void
}

const noEnds: PipeEnds = {
  begin: () => undefined,
  input: () => undefined,
  loss: () => undefined,
  output: () => undefined,
  forgetTimes: () => undefined,
}

/** The same where the first stage is given something, and the last one gives something. */
export function profileBetween(
  ends: PipeEnds,
  { model, names, batch }: UnitsToProfile,
  options: ProfileOptions,
): UnitProfile[] {
  const { clock, maxRounds = 7, budgetMs = 5000 } = options
  const stages = Array.from({ length: model.numStages }, (_, stage) => model.stages.get(stage) as PipelineStage)
  const params = new Float32Array(model.layout.totalElems)
  model.initialise(params, 1)
  const step: StageStep = { batch: () => batch, params, gradients: new Float32Array(params.length) }
  const measures = stages.map(() => new UnitMeasures())
  const end = clock.now() + budgetMs
  try {
    for (let round = 0; round <= maxRounds && (round < 2 || clock.now() < end); round++) {
      ends.begin(step)
      runRound(stages, ends, step, clock, measures)
      if (round === 0) for (const measure of [...measures, ends]) measure.forgetTimes()
    }
  } finally {
    for (const stage of stages) stage.reset()
  }
  return measures.map((measure, unit) => ({
    name: names[unit] as string,
    ...measure.costs(),
    boundaryBytes: 4 * (stages[unit] as PipelineStage).outputElems(0),
    ...parameters(model, unit),
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
  ends: PipeEnds,
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
  let x = ends.input(fused.microbatch)
  for (const stage of stages) x = timed(stage, 'forward', () => stage.forward(fused, x, keeps))
  let dy = ends.loss(fused.microbatch, x)
  for (const stage of stages.toReversed()) dy = timed(stage, 'backward', () => stage.backward(fused, dy))
  ends.output(fused.microbatch, dy)
  x = ends.input(apart.microbatch)
  for (const stage of stages) {
    x = timed(stage, 'forward', () => stage.forward(apart, x, keeps))
    measures[stage.stage]?.held('forward', stage.heldBytes())
  }
  dy = ends.loss(apart.microbatch, x)
  for (const stage of stages.toReversed()) {
    dy = timed(stage, 'inputGrad', () => stage.inputGrad(apart, dy))
    measures[stage.stage]?.held('inputGrad', stage.heldBytes())
  }
  ends.output(apart.microbatch, dy)
  for (const stage of stages) timed(stage, 'weightGrad', () => stage.weightGrad(apart))
}

/** One that several stages have is counted in each, and named: a rank with these stages has it once. */
function parameters(model: PipelineModel, stage: number): Pick<UnitProfile, 'parameterBytes' | 'tied'> {
  const own = model.layout.tensors.filter(({ name }) => model.stagesOf(name).includes(stage))
  const tied = own.filter(({ name }) => model.stagesOf(name).length > 1)
  return {
    parameterBytes: own.reduce((sum, { elems }) => sum + 4 * elems, 0),
    ...(tied.length === 0 ? {} : { tied: Object.fromEntries(tied.map(({ name, elems }) => [name, 4 * elems])) }),
  }
}

/** Of one value at least. */
export function median(values: readonly number[]): number {
  const ascending = values.toSorted((a, b) => a - b)
  const half = ascending.length >> 1
  const upper = ascending[half] as number
  return ascending.length % 2 === 1 ? upper : ((ascending[half - 1] as number) + upper) / 2
}
