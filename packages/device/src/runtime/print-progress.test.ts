import { describe, expect, it } from 'vitest'
import { progressLine, progressPrinter } from './print-progress.ts'
import type { SetupProgress } from './progress.ts'

const at = (ms: number, doneBytes?: number, ended = false): SetupProgress => ({
  stage: 'download',
  what: 'a wheel',
  ms,
  ended,
  totalBytes: 200e6,
  ...(doneBytes === undefined ? {} : { doneBytes }),
})

function printed(isTTY: boolean, reports: readonly SetupProgress[]): string[] {
  const out: string[] = []
  const printer = progressPrinter({ isTTY, write: text => out.push(text) })
  for (const one of reports) printer.report(one)
  printer.end()
  return out
}

describe('set-up progress', () => {
  it('says what, how much and how long', () => {
    expect(progressLine(at(3100, 50e6))).toBe('  download  a wheel  50 of 200 MB, 25 %, 3.1 s')
    expect(progressLine(at(9000, 200e6, true))).toBe('  download  a wheel  200 MB, 9.0 s')
  })

  it('never claims to be done before it is', () => {
    expect(progressLine(at(1000, 199.999e6))).toContain('99 %')
    expect(progressLine(at(1000, 300e6))).toContain('99 %')
  })

  it('in a pipe prints plain lines, one when it begins, one in two seconds and one at the end', () => {
    const lines = printed(false, [
      at(0, 0),
      at(500, 1e6),
      at(1999, 2e6),
      at(2000, 3e6),
      at(2500, 4e6),
      at(2600, 200e6, true),
    ])
    expect(lines).toEqual([
      '  download  a wheel  0 of 200 MB, 0 %\n',
      '  download  a wheel  3 of 200 MB, 1 %, 2.0 s\n',
      '  download  a wheel  200 MB, 2.6 s\n',
    ])
  })

  it('in a terminal rewrites its line and leaves the cursor at the start of one', () => {
    const out = printed(true, [at(0, 0), at(1000, 1e6)])
    expect(out.every(text => text === '\n' || text.startsWith('\r\x1b[2K'))).toBe(true)
    expect(out.at(-1)).toBe('\n')
  })
})
