import { stripVTControlCharacters } from 'node:util'
import { visibleWidth } from './text.ts'

/** The part of a tty stream that the screen needs; `process.stderr` and `process.stdout` are ones. */
export interface TerminalStream {
  readonly columns?: number
  readonly rows?: number
  write(text: string): unknown
  on(event: 'resize', listener: () => void): unknown
  off(event: 'resize', listener: () => void): unknown
}

const hideCursor = '\u001b[?25l'
const showCursor = '\u001b[?25h'
// Terminals that know it show what lies between the two at once; the others ignore it.
const beginUpdate = '\u001b[?2026h'
const endUpdate = '\u001b[?2026l'

/**
 * Redraws a few lines in place at the bottom of a terminal, in one write a frame: each line is overwritten and its rest
 * cleared, never the whole screen first, so nothing flickers. Owns the cursor from the first frame until `close`.
 */
export class Screen {
  readonly #stream: TerminalStream
  readonly #lines: (columns: number) => readonly string[]
  readonly #colours: boolean
  readonly #onResize = () => this.draw()
  /** Widths of the lines now on the terminal. */
  #drawn: readonly number[] = []
  #open = false
  #closed = false

  constructor(stream: TerminalStream, lines: (columns: number) => readonly string[], colours: boolean) {
    this.#stream = stream
    this.#lines = lines
    this.#colours = colours
  }

  get columns(): number {
    // 0 where nobody has given the terminal a size.
    return this.#stream.columns || 80
  }

  draw(): void {
    if (this.#closed) return
    if (!this.#open) {
      this.#open = true
      this.#stream.write(hideCursor)
      this.#stream.on('resize', this.#onResize)
    }
    // A frame taller than the terminal could not be overwritten: what scrolled away is out of reach.
    const rows = Math.max(1, (this.#stream.rows || 24) - 1)
    const lines = this.#lines(this.columns).slice(0, rows)
    this.#stream.write(beginUpdate + frame(this.#drawn, lines, this.columns, this.#colours) + endUpdate)
    this.#drawn = lines.map(visibleWidth)
  }

  /** Writes whole lines above the view, where they stay in the scrollback. */
  print(text: string): void {
    if (!this.#open || this.#closed) {
      this.#stream.write(`${text}\n`)
      return
    }
    this.#stream.write(`${upTo(this.#drawn, this.columns)}\u001b[J${text}\n`)
    this.#drawn = []
    this.draw()
  }

  /** Leaves the last frame where it is and gives the cursor back; idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (!this.#open) return
    this.#stream.off('resize', this.#onResize)
    this.#stream.write(showCursor)
  }
}

/** The bytes that turn a terminal showing lines of the widths `before` (cursor below them) into one showing `lines`. */
export function frame(before: readonly number[], lines: readonly string[], columns: number, colours: boolean): string {
  const body = lines.map(line => `${colours ? line : stripVTControlCharacters(line)}\u001b[K\n`).join('')
  return `${upTo(before, columns)}${body}\u001b[J`
}

/** Cursor to the first row of lines of these widths, which a terminal narrowed since has wrapped. */
function upTo(widths: readonly number[], columns: number): string {
  const rows = widths.reduce((sum, width) => sum + Math.max(1, Math.ceil(width / Math.max(1, columns))), 0)
  return rows === 0 ? '' : `\r\u001b[${rows}A`
}
