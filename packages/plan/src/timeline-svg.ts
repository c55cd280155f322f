/** What happens when, in lanes: the picture of a simulated plan or schedule. Times in any one unit. */
export interface Timeline {
  readonly title: string
  /** One group a rank: the labels of its lanes. */
  readonly groups: readonly (readonly string[])[]
  readonly boxes: readonly TimelineBox[]
  /** When the picture ends. */
  readonly end: number
  /** Colours by what they stand for; only those that are used are named. */
  readonly fills: Readonly<Record<string, string>>
}

export interface TimelineBox {
  readonly group: number
  readonly lane: number
  /** A key of `fills`. */
  readonly kind: string
  readonly start: number
  readonly end: number
  /** Shown when the box is pointed at. */
  readonly tooltip: string
  /** Written into the box, where there is room. */
  readonly label?: string
}

export interface TimelineSize {
  readonly widthPx: number
  readonly laneHeightPx: number
}

const rankGapPx = 10
const leftPx = 76
const topPx = 40
/** Of a character of a label. */
const charPx = 6

/** A timeline as an SVG document: time to the right, lanes by group, colours named at the bottom. */
export function drawTimelineSvg(timeline: Timeline, { widthPx, laneHeightPx }: TimelineSize): string {
  const { title, groups, boxes, end, fills } = timeline
  const lanes = Math.max(0, ...groups.map(group => group.length))
  const groupHeightPx = lanes * laneHeightPx + rankGapPx
  const heightPx = topPx + groups.length * groupHeightPx + 28
  const x = (time: number) => leftPx + (end === 0 ? 0 : (time / end) * (widthPx - leftPx - 12))
  const y = (group: number, lane: number) => topPx + group * groupHeightPx + lane * laneHeightPx

  const labels = groups.flatMap((group, g) =>
    group.map((label, lane) => text(leftPx - 6, y(g, lane) + laneHeightPx - 3, label, 'end')),
  )
  const rects = boxes.flatMap(box => {
    const [left, right] = [x(box.start), x(box.end)]
    const width = Math.max(0.5, right - left - 0.5)
    const place = `x="${px(left)}" y="${y(box.group, box.lane)}" width="${px(width)}" height="${laneHeightPx - 2}"`
    const rect = `<rect ${place} fill="${fills[box.kind]}"><title>${escaped(box.tooltip)}</title></rect>`
    if (box.label === undefined || box.label.length * charPx > width) return [rect]
    return [rect, text((left + right) / 2, y(box.group, box.lane) + laneHeightPx - 5, box.label, 'middle')]
  })
  const used = Object.keys(fills).filter(kind => boxes.some(box => box.kind === kind))
  const legend = used.flatMap((kind, i) => [
    `<rect x="${leftPx + i * 96}" y="${heightPx - 20}" width="10" height="10" fill="${fills[kind]}"/>`,
    text(leftPx + 14 + i * 96, heightPx - 11, kind, 'start'),
  ])
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${widthPx}" height="${heightPx}" viewBox="0 0 ${widthPx} ${heightPx}" font-family="sans-serif" font-size="10">`,
    `<rect width="${widthPx}" height="${heightPx}" fill="#ffffff"/>`,
    text(12, 20, title, 'start'),
    ...labels,
    ...rects,
    ...legend,
    '</svg>',
    '',
  ].join('\n')
}

const px = (value: number) => String(Math.round(value * 100) / 100)

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end'): string {
  return `<text x="${px(x)}" y="${px(y)}" text-anchor="${anchor}">${escaped(content)}</text>`
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
