import fs from 'node:fs'
import { expect, test } from 'vitest'
import { families } from './families.ts'
import { schedulesPage } from './page.ts'

const fromRoot = (path: string) => new URL(`../../../${path}`, import.meta.url)

/** What `npm run bench -- pipeline` found, if it has been run. */
function measured(): ReadonlyMap<string, number> {
  const file = fromRoot('bench/results/pipeline.json')
  if (!fs.existsSync(file)) return new Map()
  const { rows } = JSON.parse(fs.readFileSync(file, 'utf8')) as {
    readonly rows: readonly { readonly schedule: string; readonly ratio: number }[]
  }
  return new Map(rows.map(({ schedule, ratio }) => [schedule, ratio]))
}

test('docs/schedules.md says what the rules are today and what was measured; UPDATE_DOCS=1 writes it', () => {
  const file = fromRoot('docs/schedules.md')
  const page = schedulesPage(measured())
  if (process.env['UPDATE_DOCS'] === '1') fs.writeFileSync(file, page)
  expect(fs.readFileSync(file, 'utf8')).toBe(page)
})

test('a schedule that was run has its ratio in its row, the others a dash', () => {
  const rows = schedulesPage(new Map([['zb-v', 1.0124]]))
    .split('\n')
    .filter(line => line.startsWith('| ['))
  expect(rows).toHaveLength(families.length)
  for (const row of rows) expect(row).toMatch(row.includes('`zb-v`') ? /\| 1\.012 \|$/u : /\| – \|$/u)
})
