import { spawn } from 'node:child_process'
import { abortedError, SkeinError } from '@skein/core'
import { DeviceErrors } from '../errors.ts'

export interface CommandOptions {
  readonly cwd?: string
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>
  readonly timeoutMs: number
  readonly signal?: AbortSignal
  /** Each line of stdout and stderr as it comes. */
  readonly onLine?: (line: string) => void
}

export interface CommandResult {
  /** Undefined when the program could not be started. */
  readonly status: number | null | undefined
  readonly signal: NodeJS.Signals | null
  /** Last 8 KiB of each stream. */
  readonly stdout: string
  readonly stderr: string
}

const TAIL_BYTES = 8192

/**
 * Runs a program to its end without a shell and keeps the tail of its output. A program that is not there is a result
 * (`status` undefined), not an exception. Ended by SIGKILL at the time limit or when the signal aborts.
 * @throws SKEIN_ABORTED
 */
export async function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  const { signal } = options
  rethrowAbort(program, signal)
  const child = spawn(program, [...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const stdout = new Tail(options.onLine)
  const stderr = new Tail(options.onLine)
  child.stdout.setEncoding('utf8').on('data', text => stdout.push(text as string))
  child.stderr.setEncoding('utf8').on('data', text => stderr.push(text as string))
  const kill = () => child.kill('SIGKILL')
  const timer = setTimeout(kill, options.timeoutMs)
  signal?.addEventListener('abort', kill, { once: true })
  try {
    const ended = await new Promise<Pick<CommandResult, 'status' | 'signal'>>(resolve => {
      child.once('error', () => resolve({ status: undefined, signal: null }))
      child.once('close', (status, by) => resolve({ status, signal: by }))
    })
    rethrowAbort(program, signal)
    return { ...ended, stdout: stdout.end(), stderr: stderr.end() }
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', kill)
  }
}

function rethrowAbort(program: string, signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortedError(program, signal)
}

/** As `runCommand`, and anything but exit status 0 is an error that quotes the end of what the program said. @throws SKEIN_DEVICE_SETUP_FAILED */
export async function mustRun(
  what: string,
  todo: string,
  program: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  const result = await runCommand(program, args, options)
  if (result.status === 0) return result
  const how =
    result.status === undefined
      ? `${program} could not be started`
      : result.signal === null
        ? `${program} ended with status ${result.status}`
        : `${program} was ended by ${result.signal}`
  const said = (result.stderr.trim() || result.stdout.trim()).split('\n').slice(-6).join('\n  ')
  throw new SkeinError(DeviceErrors.SETUP_FAILED, {
    what: `${what}: ${how}`,
    ...(said === '' ? {} : { why: said }),
    todo,
    details: { program, status: result.status ?? null, signal: result.signal },
  })
}

/** Keeps the end of a stream and cuts it in lines. */
class Tail {
  readonly #onLine: ((line: string) => void) | undefined
  #kept = ''
  #line = ''

  constructor(onLine: ((line: string) => void) | undefined) {
    this.#onLine = onLine
  }

  push(text: string): void {
    this.#kept = (this.#kept + text).slice(-TAIL_BYTES)
    if (this.#onLine === undefined) return
    const lines = (this.#line + text).split('\n')
    this.#line = lines.pop() ?? ''
    for (const line of lines) this.#onLine(line)
  }

  end(): string {
    if (this.#line !== '') this.#onLine?.(this.#line)
    this.#line = ''
    return this.#kept
  }
}
