import { CoreErrors, SkeinError } from '@skein/core'

/** Ends a long-running command from outside: signals of the system, or the loss of the launcher. */
export interface Ending {
  readonly signal: AbortSignal
  /** Aborted by SIGTERM alone, with which a service is moved elsewhere, and by all that is not SIGTERM. */
  readonly terminated: AbortSignal
  readonly interrupted: AbortSignal
  /** Exit status to use when the command ended because of it; undefined while nothing asked for an end. */
  status(): number | undefined
  /** Exit status of a command that ended well: one stopped by Ctrl-C did. */
  stoppedStatus(): number
  [Symbol.dispose](): void
}

const statuses = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

/**
 * Aborts at the first SIGINT, SIGTERM or SIGHUP, or when `parentGone` resolves; the process is ended hard when the command
 * has not ended within `graceMs`, or at the second signal.
 */
export function endingOf(graceMs: number, parentGone?: Promise<void>): Ending {
  const controller = new AbortController()
  const [terminated, interrupted] = [new AbortController(), new AbortController()]
  let status: number | undefined
  let timer: NodeJS.Timeout | undefined
  const end = (exitStatus: number, what: string) => {
    if (status !== undefined) process.exit(status)
    status = exitStatus
    timer = setTimeout(() => process.exit(exitStatus), graceMs)
    const reason = new SkeinError(CoreErrors.ABORTED, { what, todo: 'nothing; it was asked for' })
    controller.abort(reason)
    const kind = exitStatus === statuses.SIGTERM ? terminated : interrupted
    kind.abort(reason)
  }
  const names = Object.keys(statuses) as (keyof typeof statuses)[]
  const listeners = names.map(name => [name, () => end(statuses[name], `${name} ended the process`)] as const)
  for (const [name, listener] of listeners) process.on(name, listener)
  void parentGone?.then(() => {
    if (status === undefined) end(1, 'the launcher of this process is gone')
  })
  return {
    signal: controller.signal,
    terminated: terminated.signal,
    interrupted: interrupted.signal,
    status: () => status,
    stoppedStatus: () => (status === undefined || status === statuses.SIGINT ? 0 : status),
    [Symbol.dispose]() {
      clearTimeout(timer)
      for (const [name, listener] of listeners) process.off(name, listener)
    },
  }
}
