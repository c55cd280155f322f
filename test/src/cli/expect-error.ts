import { expect } from 'vitest'
import { type SkeinRun, startSkein } from '../skein-process.ts'

/** Longest time that any bad input may take to be refused; the process is killed after it, which fails the test. */
const refusalMs = 30_000
const stackLine = /^\s+at .+:\d+:\d+\)?$/mu

export interface ExpectedError {
  readonly code: string
  /** Exit status; 1 unless told. */
  readonly status?: number
  /** Words that the message or the todo must have. */
  readonly names?: readonly string[]
}

/** Runs the real CLI with `--json` and expects exactly one `error` line, with code and todo, and no stack trace anywhere. */
export async function expectRefusal(
  args: readonly string[],
  expected: ExpectedError,
  env: Record<string, string> = {},
): Promise<void> {
  await expectFailure(startSkein([...args, '--json'], refusalMs, env), expected)
}

/** The same of a process that already runs. */
export async function expectFailure(run: SkeinRun, expected: ExpectedError): Promise<void> {
  const { code: status, stderr } = await run.ended
  const errors = run.events.filter(event => event.event === 'error')
  const shown = `${JSON.stringify(run.events.slice(-3))}\n${stderr}`
  expect(errors, shown).toHaveLength(1)
  const [error] = errors
  expect(error?.['code'], shown).toBe(expected.code)
  expect(status, shown).toBe(expected.status ?? 1)
  expect(error?.['message'], shown).toMatch(/\S/u)
  expect(error?.['todo'], shown).toMatch(/\S/u)
  const text = `${String(error?.['message'])} ${String(error?.['todo'])}`
  for (const name of expected.names ?? []) expect(text).toContain(name)
  expect(stackLine.test(stderr), shown).toBe(false)
  expect(stackLine.test(JSON.stringify(error)), shown).toBe(false)
}
