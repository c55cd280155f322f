import { describePlan, drawnCosts, trackOf, tracks } from './draw.ts'
import { type CollectivePlan, describeOp, type PlanOp } from './plan.ts'
import { type LinkCosts, simulatePlan } from './simulate.ts'
import { drawTimelineSvg } from './timeline-svg.ts'

export interface DrawSvgOptions {
  /** Link costs of the picture; default as in `drawPlan`. */
  readonly costs?: LinkCosts
  /** Width of the picture in px; default 960. */
  readonly widthPx?: number
}

const fills: Readonly<Record<PlanOp['op'], string>> = {
  send: '#4c78a8',
  recv: '#9ecae9',
  recvReduce: '#f58518',
  copy: '#b5b5b5',
  reduce: '#e45756',
  encode: '#72b7b2',
}

/**
 * A plan as an SVG document: time to the right, per rank a lane for what it sends, one for what it receives and, where there is
 * any, one for what it does by itself. Each box says its op and times in its tooltip; colours are named at the bottom.
 */
export function drawPlanSvg(plan: CollectivePlan, options: DrawSvgOptions = {}): string {
  const { costs = drawnCosts, widthPx = 960 } = options
  const simulation = simulatePlan(plan, costs)
  const shown = tracks.filter(track => track !== 'own' || simulation.ops.some(({ op }) => trackOf(op) === track))
  return drawTimelineSvg(
    {
      title: describePlan(plan, simulation),
      groups: plan.ops.map((_, rank) => shown.map((track, i) => (i === 0 ? `rank ${rank} ${track}` : track))),
      boxes: simulation.ops.map(({ rank, op, startMs, endMs }) => ({
        group: rank,
        lane: shown.indexOf(trackOf(op)),
        kind: op.op,
        start: startMs,
        end: endMs,
        tooltip: `rank ${rank}: ${describeOp(op)}, ${ms(startMs)} to ${ms(endMs)} ms`,
      })),
      end: simulation.totalMs,
      fills,
    },
    { widthPx, laneHeightPx: 12 },
  )
}

const ms = (value: number) => value.toPrecision(4)
