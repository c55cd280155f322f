import { CoreErrors, SkeinError } from './errors.ts'

/** Every wait in the project is bounded and can be aborted: these are its two forms. */
export interface WaitOptions {
  /** What is waited for, for the message: "the reply to join". */
  readonly what: string
  readonly timeoutMs: number
  readonly signal?: AbortSignal
  /** What the reader can do when the time runs out. */
  readonly todo?: string
}

/** Settles as `promise` does, or rejects with SKEIN_TIMEOUT or SKEIN_ABORTED; leaves no timer or listener behind. */
export async function within<T>(promise: Promise<T>, options: WaitOptions): Promise<T> {
  const { what, timeoutMs, signal } = options
  let timer: ReturnType<typeof setTimeout> | undefined
  let onAbort: (() => void) | undefined
  const bound = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        new SkeinError(CoreErrors.TIMEOUT, {
          what: `waited ${timeoutMs} ms for ${what}`,
          todo: options.todo ?? 'see the logs of the processes involved, or raise the limit',
          details: { timeoutMs },
        }),
      )
    }, timeoutMs)
    if (signal !== undefined) {
      onAbort = () => reject(abortedError(what, signal))
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
    }
  })
  try {
    return await Promise.race([promise, bound])
  } finally {
    clearTimeout(timer)
    if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort)
  }
}

/** The signal's own SkeinError if it was aborted with one (the usual case here), else SKEIN_ABORTED. */
export function abortedError(what: string, signal: AbortSignal): SkeinError {
  if (signal.reason instanceof SkeinError) return signal.reason
  return new SkeinError(CoreErrors.ABORTED, { what: `${what} was cancelled`, todo: 'nothing; the caller asked for it' })
}

/** A promise with its two ends, for one owner to settle. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  resolve(value: T): void
  reject(reason: unknown): void
}

export function deferred<T>(): Deferred<T> {
  return Promise.withResolvers<T>()
}

/** Resolves after `ms`, or at once (rejecting) when the signal aborts. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined
  let onAbort: (() => void) | undefined
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(resolve, ms)
      if (signal !== undefined) {
        onAbort = () => reject(abortedError('a pause', signal))
        if (signal.aborted) onAbort()
        else signal.addEventListener('abort', onAbort, { once: true })
      }
    })
  } finally {
    clearTimeout(timer)
    if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort)
  }
}
