import type { BenchCase } from './bench-case.ts'
import { round } from './results-file.ts'

/** The cases of one bench as columns for a terminal. */
export function tableOf(name: string, about: string, cases: readonly BenchCase[]): string {
  const head = ['case', 'ours', 'peer', 'ratio', 'spread', 'goal']
  const rows = cases.map(c => [
    c.case,
    `${round(c.ours)} ${c.unit}`,
    c.peer === null ? '–' : `${c.peer.name} ${round(c.peer.value)}`,
    c.ratio === null ? '–' : c.ratio.toFixed(3),
    c.spread === null ? '–' : `${c.spread[0].toFixed(3)} … ${c.spread[1].toFixed(3)}`,
    c.goal,
  ])
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map(row => row[column]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return [`${name}: ${about}`, line(head), ...rows.map(line)].join('\n')
}
