import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import { fileURLToPath } from 'node:url'
import { sleep } from '@skein/core'

export interface ChildOptions {
  /** For messages and the log file: "coordinator", "w0". */
  readonly name: string
  /** Arguments of `skein`. */
  readonly args: readonly string[]
  /** The child's whole environment. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Takes the child's stderr. */
  readonly stderrFile: string
  /** Called for each line of the child's stdout. */
  readonly onLine?: (line: string) => void
  /** Another program than Skein's own; for tests. */
  readonly mainFile?: string
}

export interface ChildExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

const tailBytes = 2000

/**
 * One `skein` process of a local run. It gets a session of its own, so that the terminal's Ctrl-C reaches the launcher alone,
 * and a pipe as stdin whose end tells it that the launcher is gone (--exit-with-parent).
 */
export class Child {
  readonly name: string
  readonly exited: Promise<ChildExit>
  readonly #process: ChildProcess
  readonly #stderrFile: string
  #exit: ChildExit | undefined

  constructor(options: ChildOptions) {
    this.name = options.name
    this.#stderrFile = options.stderrFile
    const stderr = fs.openSync(options.stderrFile, 'a')
    try {
      this.#process = spawn(process.execPath, [options.mainFile ?? mainFile, ...options.args], {
        detached: true,
        env: options.env,
        stdio: ['pipe', 'pipe', stderr],
      })
    } finally {
      fs.closeSync(stderr)
    }
    this.exited = new Promise(resolve => {
      const end = (exit: ChildExit) => {
        this.#exit ??= exit
        resolve(this.#exit)
      }
      // "close" comes after the last line of stdout, which may hold the child's error.
      this.#process.once('close', (code, signal) => end({ code, signal }))
      this.#process.once('error', error => {
        fs.appendFileSync(options.stderrFile, `${error.message}\n`)
        end({ code: 127, signal: null })
      })
    })
    // A child that ends while the launcher writes to it is reported by `exited`.
    this.#process.stdin?.on('error', () => undefined)
    this.#readLines(options.onLine)
  }

  get running(): boolean {
    return this.#exit === undefined
  }

  get pid(): number | undefined {
    return this.#process.pid
  }

  /** Writes a line to the child's stdin, which stays open as long as the launcher lives. */
  tell(line: string): void {
    this.#process.stdin?.write(`${line}\n`)
  }

  /** The end of what the child wrote to stderr. */
  lastWords(): string {
    try {
      const size = fs.statSync(this.#stderrFile).size
      const bytes = Buffer.alloc(Math.min(size, tailBytes))
      const file = fs.openSync(this.#stderrFile, 'r')
      try {
        fs.readSync(file, bytes, 0, bytes.length, size - bytes.length)
      } finally {
        fs.closeSync(file)
      }
      return bytes.toString('utf8').trim()
    } catch {
      return ''
    }
  }

  /** SIGTERM, and SIGKILL if it still runs after `graceMs`. Resolves when it is gone; idempotent. */
  async stop(graceMs: number): Promise<void> {
    if (!this.running) return
    this.#kill('SIGTERM')
    const giveUp = new AbortController()
    await Promise.race([this.exited, sleep(graceMs, giveUp.signal).catch(() => undefined)])
    giveUp.abort()
    if (this.running) this.killNow()
    await this.exited
  }

  /** Sends a signal to the process and what it started. */
  signal(name: NodeJS.Signals): void {
    this.#kill(name)
  }

  /** SIGKILL without waiting: for the launcher's own last moment. */
  killNow(): void {
    this.#kill('SIGKILL')
  }

  #kill(signal: NodeJS.Signals): void {
    if (!this.running || this.#process.pid === undefined) return
    try {
      // The whole session: also what the child started itself.
      process.kill(-this.#process.pid, signal)
    } catch {
      this.#process.kill(signal)
    }
  }

  #readLines(onLine: ((line: string) => void) | undefined): void {
    let rest = ''
    this.#process.stdout?.setEncoding('utf8')
    this.#process.stdout?.on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) onLine?.(line)
    })
  }
}

/** The program that a child runs: this very package's. */
const mainFile = fileURLToPath(new URL('../main.js', import.meta.url))
