import { describePlan, drawnCosts, type Track, trackOf, tracks } from './draw.ts'
import { type CollectivePlan, describeOp, type PlanOp } from './plan.ts'
import { type LinkCosts, simulatePlan } from './simulate.ts'

export interface DrawSvgOptions {
  /** Link costs of the picture; default as in `drawPlan`. */
  readonly costs?: LinkCosts
  /** Width of the picture in px; default 960. */
  readonly widthPx?: number
}

const laneHeightPx = 12
const rankGapPx = 10
const leftPx = 76
const topPx = 40

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
  const { totalMs } = simulation
  const shown = tracks.filter(track => track !== 'own' || simulation.ops.some(({ op }) => trackOf(op) === track))
  const rankHeightPx = shown.length * laneHeightPx + rankGapPx
  const heightPx = topPx + plan.ranks * rankHeightPx + 28
  const x = (ms: number) => leftPx + (totalMs === 0 ? 0 : (ms / totalMs) * (widthPx - leftPx - 12))
  const y = (rank: number, track: Track) => topPx + rank * rankHeightPx + shown.indexOf(track) * laneHeightPx

  const labels = plan.ops.flatMap((_, rank) =>
    shown.map((track, i) => {
      const label = i === 0 ? `rank ${rank} ${track}` : track
      return text(leftPx - 6, y(rank, track) + 9, label, 'end')
    }),
  )
  const boxes = simulation.ops.map(({ rank, op, startMs, endMs }) => {
    const [left, right] = [x(startMs), x(endMs)]
    const width = Math.max(0.5, right - left - 0.5)
    const box = `x="${px(left)}" y="${y(rank, trackOf(op))}" width="${px(width)}" height="${laneHeightPx - 2}"`
    const title = `rank ${rank}: ${describeOp(op)}, ${ms(startMs)} to ${ms(endMs)} ms`
    return `<rect ${box} fill="${fills[op.op]}"><title>${escaped(title)}</title></rect>`
  })
  const used = (Object.keys(fills) as PlanOp['op'][]).filter(name => simulation.ops.some(({ op }) => op.op === name))
  const legend = used.flatMap((name, i) => [
    `<rect x="${leftPx + i * 96}" y="${heightPx - 20}" width="10" height="10" fill="${fills[name]}"/>`,
    text(leftPx + 14 + i * 96, heightPx - 11, name, 'start'),
  ])
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${widthPx}" height="${heightPx}" viewBox="0 0 ${widthPx} ${heightPx}" font-family="sans-serif" font-size="10">`,
    `<rect width="${widthPx}" height="${heightPx}" fill="#ffffff"/>`,
    text(12, 20, describePlan(plan, simulation), 'start'),
    ...labels,
    ...boxes,
    ...legend,
    '</svg>',
    '',
  ].join('\n')
}

const px = (value: number) => String(Math.round(value * 100) / 100)
const ms = (value: number) => value.toPrecision(4)

function text(x: number, y: number, content: string, anchor: 'start' | 'end'): string {
  return `<text x="${px(x)}" y="${px(y)}" text-anchor="${anchor}">${escaped(content)}</text>`
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
