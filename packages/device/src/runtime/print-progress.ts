import type { SetupProgress } from './progress.ts'

/** What the printer writes to: a process's stderr, or a list of strings in a test. */
export interface ProgressSink {
  readonly isTTY?: boolean | undefined
  write(text: string): unknown
}

/** Draws set-up progress; `end` leaves the cursor at the start of a line. */
export interface ProgressPrinter {
  readonly report: (progress: SetupProgress) => void
  readonly end: () => void
}

const PIPE_EVERY_MS = 2000
const TERMINAL_EVERY_MS = 100

/** In a terminal one line per stage, rewritten in place; in a pipe a plain line when a stage begins, every 2 s, and when it ends. */
export function progressPrinter(sink: ProgressSink): ProgressPrinter {
  const terminal = sink.isTTY === true
  const everyMs = terminal ? TERMINAL_EVERY_MS : PIPE_EVERY_MS
  const lastMs = new Map<string, number>()
  let open = false
  const close = () => {
    if (open) sink.write('\n')
    open = false
  }
  return {
    report(progress) {
      const name = `${progress.stage} ${progress.what}`
      const last = lastMs.get(name)
      if (!progress.ended && last !== undefined && progress.ms - last < everyMs) return
      lastMs.set(name, progress.ms)
      const line = progressLine(progress)
      if (!terminal) sink.write(`${line}\n`)
      else if (progress.ended) {
        sink.write(`\r\x1b[2K${line}\n`)
        open = false
      } else {
        sink.write(`\r\x1b[2K${line}`)
        open = true
      }
    },
    end: close,
  }
}

/** `download  tensorflow-cpu 2.21.0 (with pip)  120 of 274 MB, 44 %, 3.1 s`. */
export function progressLine(progress: SetupProgress): string {
  const facts: string[] = []
  if (progress.doneBytes !== undefined) facts.push(amount(progress.doneBytes, progress.totalBytes))
  if (progress.ms >= 100 || progress.ended) facts.push(`${(progress.ms / 1000).toFixed(1)} s`)
  if (!progress.ended && progress.doneBytes === undefined) facts.push('…')
  return `  ${progress.stage.padEnd(8)}  ${progress.what}${facts.length === 0 ? '' : `  ${facts.join(', ')}`}`
}

function amount(doneBytes: number, totalBytes: number | undefined): string {
  const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)}`
  if (totalBytes === undefined || totalBytes === doneBytes) return `${megabytes(doneBytes)} MB`
  const percent = Math.min(99, Math.floor((100 * doneBytes) / totalBytes))
  return `${megabytes(doneBytes)} of ${megabytes(totalBytes)} MB, ${percent} %`
}
