import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { schedulesPage } from './page.ts'

const file = new URL('../../../docs/schedules.md', import.meta.url)

test('docs/schedules.md says what the rules are today; UPDATE_DOCS=1 writes it', () => {
  const page = schedulesPage()
  if (process.env['UPDATE_DOCS'] === '1') writeFileSync(file, page)
  expect(readFileSync(file, 'utf8')).toBe(page)
})
