import { once } from 'node:events'
import { asSkeinError, within } from '@skein/core'
import pino from 'pino'

/** Lines that wait for a slow disk; beyond it they are dropped rather than held in memory. */
const maxWaitingBytes = 8 * 2 ** 20
/** Longest wait of a flush: a disk that hangs must not keep a process from ending. */
const flushTimeoutMs = 2_000

/** Where lines go. Nothing here throws or blocks. */
export interface Destination {
  write(line: string): void
  flush(): Promise<void>
  close(): Promise<void>
}

export const nowhere: Destination = {
  write: () => undefined,
  flush: () => Promise.resolve(),
  close: () => Promise.resolve(),
}

/** After a write that failed, so long no other is tried: lines of meanwhile are lost. */
const defaultBrokenForMs = 5_000

/** Appends to `file` in the background; makes its folder. A disk that is full costs lines until it has room again, one that is gone all; never the run. */
export function fileDestination(file: string, brokenForMs = defaultBrokenForMs): Destination {
  const out = pino.destination({ dest: file, sync: false, mkdir: true, maxLength: maxWaitingBytes })
  let isOpen = false
  let brokenUntilMs = 0
  let closing: Promise<void> | undefined
  out.once('ready', () => {
    isOpen = true
  })
  out.on('error', () => {
    brokenUntilMs = isOpen ? performance.now() + brokenForMs : Number.POSITIVE_INFINITY
  })
  const isBroken = () => performance.now() < brokenUntilMs
  const flush = async () => {
    if (isBroken()) return
    const flushed = new Promise<void>(resolve => out.flush(() => resolve()))
    await within(flushed, { what: `the log file ${file}`, timeoutMs: flushTimeoutMs }).catch(asSkeinError)
  }
  const close = async () => {
    await flush()
    const closed = once(out, 'close')
    if (isBroken()) out.destroy()
    else out.end()
    await within(closed, { what: `the log file ${file} to close`, timeoutMs: flushTimeoutMs }).catch(asSkeinError)
  }
  return {
    write: line => {
      if (closing === undefined && !isBroken()) out.write(line)
    },
    flush,
    close: () => {
      closing ??= close()
      return closing
    },
  }
}

/** Writes to a stream that someone else owns and closes (stderr, a test's). */
export function streamDestination(stream: NodeJS.WritableStream): Destination {
  let closed = false
  const flush = async () => {
    if (!stream.writable) return
    const flushed = new Promise<void>(resolve => {
      stream.write('', () => resolve())
    })
    await within(flushed, { what: 'the log stream', timeoutMs: flushTimeoutMs }).catch(asSkeinError)
  }
  return {
    write: line => {
      if (!closed && stream.writable) stream.write(line)
    },
    flush,
    close: async () => {
      closed = true
      await flush()
    },
  }
}
