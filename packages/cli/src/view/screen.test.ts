import { describe, expect, it } from 'vitest'
import { formatBytes, formatCount, formatDuration } from './format.ts'
import { frame, Screen, type TerminalStream } from './screen.ts'
import { progressBar, sparkline, squeeze } from './sparkline.ts'
import { fit, oneLine, paint, printableLines, visibleWidth } from './text.ts'

class FakeTerminal implements TerminalStream {
  columns = 40
  rows = 10
  written = ''
  readonly listeners = new Set<() => void>()
  write(text: string): void {
    this.written += text
  }
  on(_event: 'resize', listener: () => void): void {
    this.listeners.add(listener)
  }
  off(_event: 'resize', listener: () => void): void {
    this.listeners.delete(listener)
  }
}

describe('a frame', () => {
  it('goes up over the former frame, overwrites each line and clears what is below', () => {
    expect(frame([], ['a', 'b'], 80, true)).toBe('a\u001b[K\nb\u001b[K\n\u001b[J')
    expect(frame([1, 1], ['c'], 80, true)).toBe('\r\u001b[2Ac\u001b[K\n\u001b[J')
  })

  it('counts the rows of lines that a narrower terminal has wrapped', () => {
    expect(frame([40, 10], ['c'], 20, true)).toContain('\u001b[3A')
  })

  it('has no styles where colours are not wanted', () => {
    expect(frame([], [paint('red', 'a')], 80, false)).toBe('a\u001b[K\n\u001b[J')
  })
})

describe('a screen', () => {
  it('hides the cursor while it is open and gives it and the listener back, once', () => {
    const terminal = new FakeTerminal()
    const screen = new Screen(terminal, () => ['x'], true)
    screen.draw()
    expect(terminal.written.startsWith('\u001b[?25l')).toBe(true)
    expect(terminal.listeners.size).toBe(1)
    screen.close()
    screen.close()
    expect(terminal.listeners.size).toBe(0)
    expect(terminal.written.split('\u001b[?25h')).toHaveLength(2)
    const before = terminal.written
    screen.draw()
    expect(terminal.written).toBe(before)
  })

  it('draws no more lines than it can overwrite', () => {
    const terminal = new FakeTerminal()
    terminal.rows = 3
    const screen = new Screen(terminal, () => ['1', '2', '3', '4', '5'], true)
    screen.draw()
    expect(terminal.written).toContain('2')
    expect(terminal.written).not.toContain('3\u001b[K')
    screen.close()
  })

  it('writes nothing at all when it was never drawn', () => {
    const terminal = new FakeTerminal()
    new Screen(terminal, () => [], true).close()
    expect(terminal.written).toBe('')
  })
})

describe('text of bounded width', () => {
  it('is cut with its styles closed', () => {
    const line = `ab${paint('red', 'cdef')}gh`
    expect(visibleWidth(line)).toBe(8)
    expect(fit(line, 8)).toBe(line)
    for (let columns = 1; columns < 8; columns++) expect(visibleWidth(fit(line, columns))).toBe(columns)
    expect(fit(line, 4)).toContain('…\u001b[0m')
    expect(fit(line, 0)).toBe('')
    expect(fit('漢字漢字', 5)).toBe('漢字…\u001b[0m')
  })

  it('cannot steer the terminal when it comes from outside', () => {
    expect(oneLine('a\u001b[2Jb\nc')).toBe('a [2Jb c')
    expect(printableLines('a\tb\n\u001b[0mc')).toEqual(['a  b', '·[0mc'])
  })
})

describe('a sparkline', () => {
  it('goes from the lowest to the highest block', () => {
    expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)).toBe('▁▂▃▄▅▆▇█')
    expect(sparkline([3, 3], 8)).toBe('▁▁')
    expect(sparkline([], 8)).toBe('')
  })

  it('keeps the whole history in view by averaging equal runs', () => {
    expect(squeeze([1, 3, 5, 7], 2)).toEqual([2, 6])
    expect(squeeze([1, 2, 3], 5)).toEqual([1, 2, 3])
  })

  it('has a progress bar beside it that fills in eighths', () => {
    expect(progressBar(0, 4)).toBe('░░░░')
    expect(progressBar(0.5, 4)).toBe('██░░')
    expect(progressBar(1 / 32, 4)).toBe('▏░░░')
    expect(progressBar(2, 4)).toBe('████')
  })
})

describe('numbers for people', () => {
  it('have a bounded width', () => {
    expect([0, 1023, 1536, 5_000_000, 3e9].map(formatBytes)).toEqual(['0 B', '1023 B', '1.5 KiB', '4.8 MiB', '2.8 GiB'])
    expect([12, 12_345, 123_456, 7_600_000].map(formatCount)).toEqual(['12', '12.3 k', '123 k', '7.6 M'])
    expect([0, 850, 3200, 42_000, 125_000, 3_780_000].map(formatDuration)).toEqual([
      '0 ms',
      '850 ms',
      '3.2 s',
      '42 s',
      '2 min 05 s',
      '1 h 03 min',
    ])
  })
})
