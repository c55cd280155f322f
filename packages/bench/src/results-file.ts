import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { BenchCase } from './bench-case.ts'

/** Three significant digits, whole above 100. */
export const round = (value: number) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3))

/** Writes `bench/results/<bench>_<machine>_<yyyymm>.md`: the cases with medians, spread and versions. Returns the path. */
export function writeResults(
  folder: string,
  bench: string,
  about: string,
  cases: readonly BenchCase[],
  versions: Readonly<Record<string, string>>,
): string {
  const cpu = os.cpus()[0]?.model.trim() ?? 'unknown processor'
  const now = new Date()
  const month = `${now.getUTCFullYear()}${String(now.getUTCMonth() + 1).padStart(2, '0')}`
  const machine = `${os.arch()}-${os.availableParallelism()}cores`
  const file = path.join(folder, `${bench}_${machine}_${month}.md`)
  const rows = cases.map(c =>
    [
      c.case,
      `${round(c.ours)} ${c.unit}`,
      c.peer === null ? '–' : `${c.peer.name}: ${round(c.peer.value)} ${c.unit}`,
      c.floor === null ? '–' : `${round(c.floor)} ${c.unit}`,
      c.ratio === null ? '–' : c.ratio.toFixed(3),
      c.spread === null ? '–' : `${c.spread[0].toFixed(3)} … ${c.spread[1].toFixed(3)}`,
      String(c.samples.length),
      c.goal,
    ].join(' | '),
  )
  const text = [
    `# ${bench}`,
    '',
    about,
    '',
    `${now.toISOString().slice(0, 10)}, ${cpu}, ${os.availableParallelism()} cores, ${os.type()} ${os.release()}; ${Object.entries(
      versions,
    )
      .map(([name, version]) => `${name} ${version}`)
      .join(', ')}. Run again: \`npm run bench -- ${bench}\`.`,
    '',
    '| case | ours (median) | peer (median) | floor | ratio | spread of the paired ratios | samples | goal |',
    '|---|---|---|---|---|---|---|---|',
    ...rows.map(row => `| ${row} |`),
    '',
  ].join('\n')
  fs.mkdirSync(folder, { recursive: true })
  fs.writeFileSync(file, text)
  return file
}
