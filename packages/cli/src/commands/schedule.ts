import { SkeinError } from '@skein/core'
import {
  assertValidSchedule,
  chunkOf,
  type Costs,
  drawSchedule,
  drawScheduleSvg,
  families,
  type Family,
  generateSchedule,
  lower,
  isFill,
  messagesBetween,
  isVocabulary,
  offloadActivations,
  recompute,
  type Schedule,
  ScheduleErrors,
  type ScheduleOp,
  shardWeights,
  simulate,
  type Sizes,
  sizesOf,
  steadyPeriodOf,
  summaryOf,
  takerOf,
  traceOf,
  unitCosts,
  withFill,
  withPostValidation,
  withWeightGradsLast,
} from '@skein/schedule'
import { usage } from '../option-values.ts'
import { columnsOf } from '../view/columns.ts'

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
  /** Of each frozen layer, for one microbatch: idle time is filled with them. */
  readonly fill?: readonly number[]
  readonly fillCuts?: number
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

/** What things take, the frozen layers too. */
function costsOf({ costs = unitCosts, fill }: Pick<ScheduleCommandOptions, 'costs' | 'fill'>): Costs {
  return fill === undefined ? costs : { ...costs, frozen: fill }
}

function checked(options: ScheduleCommandOptions): Schedule {
  const { name, stages, with: wanted = [], fill, fillCuts, microbatches, chunks, slices, cap } = options
  const costs = costsOf(options)
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
  if (fillCuts !== undefined && fill === undefined)
    throw usage(`--fill-cuts is ${fillCuts}, without --fill`, 'pass --fill too: the times of the frozen layers')
  const changed = changeNames
    .filter(change => wanted.includes(change))
    .reduce((made, change) => changes[change]?.(made, costs) ?? made, generated)
  const schedule = fill === undefined ? changed : withFill(changed, costs, fillCuts)
  assertValidSchedule(schedule)
  return schedule
}

/** `skein schedule draw`: a rank a line, time to the right; or as SVG. */
export function draw(options: ScheduleCommandOptions & { readonly svg: boolean }): number {
  const { svg } = options
  const costs = costsOf(options)
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
    ...(schedule.frozen === undefined
      ? []
      : ['# is a frozen layer on a piece of the next step’s samples, then the piece.']),
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
  return 0
}

/** `skein schedule ops`: what each rank does, in order, with its messages; and what it comes to. */
export function ops(options: ScheduleCommandOptions & { readonly json: boolean }): number {
  const { json } = options
  const schedule = lower(checked(options))
  const simulation = simulate(schedule, costsOf(options))
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
    ...(schedule.frozen === undefined ? {} : { frozen: schedule.frozen }),
    messages: messagesBetween(schedule),
    ops: schedule.ops.map(list => list.map(op => withPlace(schedule, op))),
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
  return 0
}

/** `skein schedule trace`: the simulated times of every op, for ui.perfetto.dev. Costs are in ms. */
export function trace(options: ScheduleCommandOptions): number {
  const schedule = checked(options)
  const { ops } = simulate(schedule, costsOf(options))
  process.stdout.write(`${JSON.stringify(traceOf(schedule, [{ name: 'simulated', ops }]))}\n`)
  return 0
}

/** Sizes that a rule does not take, and those that its search comes to a stand with. */
const refusals: ReadonlySet<string> = new Set([ScheduleErrors.OPTIONS.code, ScheduleErrors.INVALID.code])

/** `skein schedule compare`: every schedule for such sizes, the quickest first; and why some are not there. */
export function compare(
  options: Omit<ScheduleCommandOptions, 'name' | 'chunks' | 'slices' | 'with' | 'fill' | 'fillCuts'> & {
    readonly json: boolean
  },
): number {
  const { stages, microbatches, costs = unitCosts, cap, json } = options
  const sizes = { ranks: stages, microbatches, costs }
  const rows: Compared[] = []
  const refused: { readonly name: string; readonly reason: string }[] = []
  for (const family of families) {
    const { name, takesCap = false } = family
    try {
      const capped = takesCap && cap !== undefined ? { ...sizes, cap } : sizes
      rows.push(comparedOf(family, sizesOf(family, capped), costs))
    } catch (error) {
      if (!(error instanceof SkeinError && refusals.has(error.code))) throw error
      refused.push({ name, reason: error.todo })
    }
  }
  rows.sort((a, b) => a.makespan - b.makespan || a.peakActivations - b.peakActivations)
  if (json) {
    process.stdout.write(`${JSON.stringify({ ranks: stages, microbatches, costs, schedules: rows, refused })}\n`)
    return 0
  }
  const figure = (value: number) => String(Number(value.toPrecision(5)))
  const lines = [
    ...columnsOf([
      ['schedule', 'stages a rank', 'time', 'without barrier', 'idle', 'held at most', 'messages'],
      ...rows.map(row => [
        row.schedule,
        String(row.chunks),
        figure(row.makespan),
        figure(row.steadyPeriod),
        `${(100 * row.bubble).toFixed(1)} %`,
        figure(row.peakActivations),
        String(row.messages),
      ]),
    ]),
    ...(refused.length === 0 ? [] : ['']),
    ...refused.map(({ name, reason }) => `not there: ${name}: ${reason}`),
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
  return 0
}

interface Compared {
  readonly schedule: string
  readonly chunks: number
  readonly makespan: number
  /** Of a step among many without a barrier between them. */
  readonly steadyPeriod: number
  readonly bubble: number
  readonly peakActivations: number
  readonly messages: number
}

function comparedOf(family: Family, sizes: Sizes, costs: Costs): Compared {
  const schedule = family.generate(sizes)
  const { makespan, syncBubble, peakActivations } = simulate(schedule, costs)
  const sent = messagesBetween(schedule).flat()
  return {
    schedule: schedule.name,
    chunks: schedule.stages / schedule.ranks,
    makespan,
    steadyPeriod: steadyPeriodOf(family, sizes, costs),
    bubble: syncBubble,
    peakActivations: Math.max(...peakActivations),
    messages: sent.reduce((sum, count) => sum + count, 0),
  }
}

/** With the chunk of its stage; what a piece's last frozen layer makes with the rank that it goes to. */
function withPlace(
  schedule: Schedule,
  op: ScheduleOp,
): ScheduleOp & { readonly chunk?: number; readonly goesTo?: number } {
  if (isFill(op))
    return op.layer === (schedule.frozen?.layers ?? 0) - 1 ? { ...op, goesTo: takerOf(schedule, op.piece) } : op
  return 'microbatch' in op && !isVocabulary(op) ? { ...op, chunk: chunkOf(schedule, op.stage, op.microbatch) } : op
}

/** "F0.3", "sendActivation0.3>1", "fill1.5": stage, microbatch, slice, peer; frozen layer, piece. */
function shortly(op: ScheduleOp): string {
  const place = ['stage', 'microbatch', 'slice', 'layer', 'piece'].flatMap(key =>
    key in op ? [op[key as keyof ScheduleOp]] : [],
  )
  const peer = !('peer' in op) ? '' : op.op.startsWith('send') ? `>${op.peer}` : `<${op.peer}`
  return `${op.op}${place.join('.')}${peer}`
}
