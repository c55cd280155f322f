import fs from 'node:fs'
import { readJson } from './places.mjs'

/**
 * Counts of a vitest JSON report, and the names of what did not pass. A test file that could not be loaded counts as one failure.
 * Undefined when there is no report: then nothing is known to have passed.
 */
export function readReport(file) {
  const report = readJson(file)
  if (!Array.isArray(report?.testResults)) return undefined
  const counts = { passed: 0, failed: [], skipped: [] }
  for (const suite of report.testResults) {
    const tests = suite.assertionResults ?? []
    for (const test of tests) {
      if (test.status === 'passed') counts.passed++
      else if (test.status === 'failed') counts.failed.push(test.fullName)
      else counts.skipped.push(test.fullName)
    }
    if (suite.status === 'failed' && !tests.some(test => test.status === 'failed')) counts.failed.push(suite.name)
  }
  return counts
}

/** The end of a test run: what was skipped and what failed by name, then the counts. */
export function reportLines(counts) {
  const lines = []
  if (counts.skipped.length > 0) lines.push(`SKIPPED, so not shown to work on this machine:`)
  lines.push(...counts.skipped.map(name => `  - ${name}`))
  if (counts.failed.length > 0) lines.push('FAILED:')
  lines.push(...counts.failed.map(name => `  - ${name}`))
  lines.push(`${counts.passed} passed, ${counts.failed.length} failed, ${counts.skipped.length} skipped`)
  return lines
}

/** Exit status of the test command: 0 only if vitest says so, something passed and nothing failed. */
export function testStatus(vitestStatus, counts) {
  if (vitestStatus !== 0) return vitestStatus
  return counts !== undefined && counts.failed.length === 0 && counts.passed > 0 ? 0 : 1
}

export const removeReport = file => fs.rmSync(file, { force: true })
