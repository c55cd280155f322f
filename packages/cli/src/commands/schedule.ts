import {
  assertValidSchedule,
  chunkOf,
  type Costs,
  drawSchedule,
  drawScheduleSvg,
  generateSchedule,
  lower,
  offloadActivations,
  recompute,
  type Schedule,
  type ScheduleOp,
  shardWeights,
  simulate,
  summaryOf,
  traceOf,
  unitCosts,
  withPostValidation,
  withWeightGradsLast,
} from '@skein/schedule'
import { usage } from '../option-values.ts'

export interface ScheduleCommandOptions {
  readonly name: string
  /** Ranks in the pipeline. */
  readonly stages: number
  readonly microbatches: number
  readonly chunks?: number
  readonly slices?: number
  /** Most activations a rank may hold, for the rules that take it. */
  readonly cap?: number
  readonly costs?: Costs
  /** Names of `changes`. */
  readonly with?: readonly string[]
}

/** What `--with` can make of a schedule; in the order in which they are done. */
const changes: Readonly<Record<string, (schedule: Schedule, costs: Costs) => Schedule>> = {
  '2bp': withWeightGradsLast,
  recompute: schedule => recompute(schedule),
  offload: offloadActivations,
  sharded: schedule => shardWeights(schedule),
  validated: withPostValidation,
}
const changeNames = Object.keys(changes)

function checked({ name, stages, costs = unitCosts, with: wanted = [], ...sizes }: ScheduleCommandOptions): Schedule {
  const { microbatches, chunks, slices, cap } = sizes
  const generated = generateSchedule(name, {
    ranks: stages,
    microbatches,
    costs,
    ...(chunks === undefined ? {} : { chunks }),
    ...(slices === undefined ? {} : { slices }),
    ...(cap === undefined ? {} : { cap }),
  })
  const unknown = wanted.find(change => !changeNames.includes(change))
  if (unknown !== undefined) throw usage(`--with is "${unknown}"`, `pass some of: ${changeNames.join(', ')}`)
  const schedule = changeNames
    .filter(change => wanted.includes(change))
    .reduce((made, change) => changes[change]?.(made, costs) ?? made, generated)
  assertValidSchedule(schedule)
  return schedule
}

/** `skein schedule draw`: a rank a line, time to the right; or as SVG. */
export function draw(options: ScheduleCommandOptions & { readonly svg: boolean }): number {
  const { costs = unitCosts, svg } = options
  const schedule = checked(options)
  if (svg) {
    process.stdout.write(drawScheduleSvg(schedule, { costs }))
    return 0
  }
  const lines = [
    drawSchedule(schedule, { costs }),
    '',
    'Time goes to the right. F forward, B backward (of the input alone where there is a W), W backward of the weights, R forward again;',
    'then the microbatch. Small letters are the second stage of a rank, a digit after the letter is the stage where there are more. . is idle.',
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
  return 0
}

/** `skein schedule ops`: what each rank does, in order, with its messages; and what it comes to. */
export function ops(options: ScheduleCommandOptions & { readonly json: boolean }): number {
  const { costs = unitCosts, json } = options
  const schedule = lower(checked(options))
  const simulation = simulate(schedule, costs)
  if (!json) {
    const lists = schedule.ops.map((list, rank) => `rank ${rank}: ${list.map(shortly).join(' ')}`)
    process.stdout.write(`${[summaryOf(schedule, simulation), ...lists].join('\n')}\n`)
    return 0
  }
  const { makespan, syncBubble, spanBubble, peakActivations } = simulation
  const answer = {
    schedule: schedule.name,
    ranks: schedule.ranks,
    stages: schedule.stages,
    microbatches: schedule.microbatches,
    makespan,
    bubble: syncBubble,
    spanBubble,
    peakActivations,
    ops: schedule.ops.map(list => list.map(op => withChunk(schedule, op))),
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
  return 0
}

/** `skein schedule trace`: the simulated times of every op, for ui.perfetto.dev. Costs are in ms. */
export function trace(options: ScheduleCommandOptions): number {
  const schedule = checked(options)
  const { ops } = simulate(schedule, options.costs ?? unitCosts)
  process.stdout.write(`${JSON.stringify(traceOf(schedule, [{ name: 'simulated', ops }]))}\n`)
  return 0
}

function withChunk(schedule: Schedule, op: ScheduleOp): ScheduleOp & { readonly chunk?: number } {
  return 'microbatch' in op ? { ...op, chunk: chunkOf(schedule, op.stage, op.microbatch) } : op
}

/** "F0.3", "sendActivation0.3>1": stage, microbatch, slice, peer. */
function shortly(op: ScheduleOp): string {
  const place = ['stage', 'microbatch', 'slice'].flatMap(key => (key in op ? [op[key as keyof ScheduleOp]] : []))
  const peer = !('peer' in op) ? '' : op.op.startsWith('send') ? `>${op.peer}` : `<${op.peer}`
  return `${op.op}${place.join('.')}${peer}`
}
