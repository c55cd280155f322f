import { SkeinError } from '@skein/core'
import { drawTimelineSvg } from '@skein/plan'
import { type Costs, unitCosts } from './costs.ts'
import { ScheduleErrors } from './errors.ts'
import {
  chunkOf,
  chunksPerRank,
  type ComputeOp,
  describeOp,
  type FillOp,
  isCompute,
  isCopy,
  isFill,
  isVocabulary,
  type Schedule,
  type ScheduleOp,
  type VocabularyOp,
} from './schedule.ts'
import { type Simulation, simulate } from './simulate.ts'

export interface DrawOptions {
  /** Default: every pass takes one unit, and messages nothing. */
  readonly costs?: Costs
  /** Width of an SVG in px; default 1200. */
  readonly widthPx?: number
}

/** Units in a line of text: nobody reads that many, and a string has an end. */
const mostColumns = 100_000

/**
 * A schedule as lines of text, one a rank, over simulated time: a pass is its letter and its microbatch (base 36), written as often
 * as it takes units; a unit is the shortest pass. BW is drawn as B. Where a rank holds two stages the letter is small for the second,
 * where more the number of the stage on its rank follows the letter; a slice is the last character. E, S, T and G are
 * passes of a sharded vocabulary, # with a piece is a frozen layer on the next step's samples. `.` is idle; a pass that takes no time is not drawn.
 * @throws SKEIN_SCHEDULE_OPTIONS where the shortest pass is too short beside the others for a line of text
 */
export function drawSchedule(schedule: Schedule, options: DrawOptions = {}): string {
  const simulation = simulate(schedule, options.costs ?? unitCosts)
  const passes = simulation.ops.map(list =>
    list.flatMap(({ op, start, end }) =>
      isPass(op) && end > start ? [{ label: labelOf(schedule, op), start, end }] : [],
    ),
  )
  let unit = Number.POSITIVE_INFINITY
  let width = 0
  for (const { label, start, end } of passes.flat()) {
    unit = Math.min(unit, end - start)
    width = Math.max(width, label.length)
  }
  const column = (time: number) => Math.round(time / unit)
  if (column(simulation.makespan) > mostColumns) throw tooWide(schedule, simulation.makespan, unit)
  const rankWidth = String(schedule.ranks - 1).length
  const rows = passes.map((list, rank) => {
    let row = `r${String(rank).padStart(rankWidth)} `
    let at = 0
    for (const { label, start, end } of list) {
      row += '.'.padEnd(width).repeat(column(start) - at) + label.padEnd(width).repeat(column(end) - column(start))
      at = column(end)
    }
    return row
  })
  return [summaryOf(schedule, simulation), ...rows].join('\n')
}

/** The same as an SVG document; each box says its op and its times when it is pointed at. Copies to the host have a lane of their own. */
export function drawScheduleSvg(schedule: Schedule, options: DrawOptions = {}): string {
  const simulation = simulate(schedule, options.costs ?? unitCosts)
  const hasCopies = schedule.ops.some(list => list.some(isCopy))
  return drawTimelineSvg(
    {
      title: summaryOf(schedule, simulation),
      groups: schedule.ops.map((_, rank) => (hasCopies ? [`rank ${rank}`, 'copies'] : [`rank ${rank}`])),
      boxes: simulation.ops.flatMap((list, group) =>
        list.flatMap(({ op, start, end }) => {
          if (!isPass(op) && !isCopy(op)) return []
          const box = {
            group,
            lane: isCopy(op) ? 1 : 0,
            kind: isCopy(op) ? op.op : fillOf(schedule, op),
            start,
            end,
            tooltip: `rank ${group}: ${describeOp(op)}, ${start.toPrecision(4)} to ${end.toPrecision(4)}`,
          }
          return [isCopy(op) ? box : { ...box, label: labelOf(schedule, op) }]
        }),
      ),
      end: simulation.makespan,
      fills,
    },
    { widthPx: options.widthPx ?? 1200, laneHeightPx: 16 },
  )
}

/** Sizes, time, idle part and memory as one line. */
export function summaryOf(schedule: Schedule, { makespan, syncBubble, peakActivations }: Simulation): string {
  const { name, ranks, microbatches, slices } = schedule
  const chunks = chunksPerRank(schedule) * schedule.pipes.length
  const held = Math.max(...peakActivations)
  const parts = [
    `${name}: ${ranks} ranks with ${chunks} stage${chunks === 1 ? '' : 's'} each, ${microbatches} microbatches`,
    ...(slices > 1 ? [`${slices} slices`] : []),
    `time ${Number(makespan.toPrecision(6))}`,
    `idle ${(100 * syncBubble).toFixed(1)} %`,
    `at most ${Number(held.toPrecision(4))} activation${held === 1 ? '' : 's'} held`,
  ]
  return parts.join(', ')
}

function tooWide({ name }: Schedule, makespan: number, unit: number): SkeinError {
  return new SkeinError(ScheduleErrors.OPTIONS, {
    what: `the schedule ${name} was to be drawn as text of ${Math.round(makespan / unit)} columns`,
    why: `a column is the time of its shortest pass, ${unit} of ${Number(makespan.toPrecision(6))}; there are at most ${mostColumns}`,
    todo: 'draw it as SVG (--svg), or give its passes times nearer to each other',
    details: { name, makespan, unit },
  })
}

type Pass = ComputeOp | VocabularyOp | FillOp

const isPass = (op: ScheduleOp): op is Pass => isCompute(op) || isVocabulary(op) || isFill(op)

function labelOf(schedule: Schedule, op: Pass): string {
  if (isFill(op)) return `#${chunksPerRank(schedule) > 2 ? '_' : ''}${(op.piece % 36).toString(36)}`
  if (isVocabulary(op)) return op.op + (chunksPerRank(schedule) > 2 ? '_' : '') + (op.microbatch % 36).toString(36)
  const chunks = chunksPerRank(schedule) * schedule.pipes.length
  const chunk = chunkOf(schedule, op.stage, op.microbatch)
  const letter = op.op === 'BW' ? 'B' : op.op
  const pass = chunks > 2 ? `${letter}${chunk.toString(36)}` : chunk === 1 ? letter.toLowerCase() : letter
  return pass + (op.microbatch % 36).toString(36) + (schedule.slices > 1 ? (op.slice ?? 0).toString(36) : '')
}

/** Later stages of a rank are a shade paler. */
const fills: Readonly<Record<string, string>> = {
  F: '#7fb3e6',
  f: '#c3dcf5',
  B: '#7bc99a',
  b: '#c5e8d2',
  BW: '#7bc99a',
  bw: '#c5e8d2',
  W: '#f0b26b',
  w: '#f9dcbb',
  R: '#b9a6dd',
  r: '#dcd2ee',
  E: '#9fd8d4',
  S: '#58b5ae',
  T: '#d98cb3',
  G: '#eec3d8',
  fill: '#e3dcc8',
  offload: '#b5b5b5',
  reload: '#8a8a8a',
}

function fillOf(schedule: Schedule, op: Pass): string {
  if (isVocabulary(op) || isFill(op)) return op.op
  return chunkOf(schedule, op.stage, op.microbatch) % 2 === 0 ? op.op : op.op.toLowerCase()
}
