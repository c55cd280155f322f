import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import readline from 'node:readline'
import { deferred } from '@skein/core'

/** A step that a process told of. */
export interface ToldStep {
  /** When its line came, in ms of this process's clock. */
  readonly atMs: number
  readonly line: Readonly<Record<string, unknown>>
}

export interface SteppingOptions {
  readonly name: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** Which lines of its standard output are steps. */
  readonly isStep: (line: Readonly<Record<string, unknown>>) => boolean
  /** All processes that belong to it name this in their arguments. */
  readonly mark: string
}

/** How long a step may take; three times what the slowest machine so far took for it, and the start. */
const stepMs = 60_000

/**
 * A command that trains and prints a line for each step, which can be stopped and let go on with all of its processes: so two of them take turns
 * within seconds, on a machine that is another one a minute later.
 */
export class SteppingProcess implements AsyncDisposable {
  readonly steps: ToldStep[] = []
  readonly #options: SteppingOptions
  readonly #child: ChildProcess
  #news = deferred<void>()
  #stderr = ''

  constructor(options: SteppingOptions) {
    this.#options = options
    this.#child = spawn(process.execPath, options.args, {
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-2000)
    })
    const output = this.#child.stdout as NonNullable<ChildProcess['stdout']>
    readline.createInterface({ input: output }).on('line', text => {
      if (!text.startsWith('{')) return
      const line = JSON.parse(text) as Record<string, unknown>
      if (!options.isStep(line)) return
      this.steps.push({ atMs: performance.now(), line })
      this.#tell()
    })
    this.#child.once('close', () => this.#tell())
  }

  /** Resolves at the line of so many steps from the start. @throws with the tail of its stderr where it ends before, or takes a minute for one */
  async untilSteps(numSteps: number): Promise<void> {
    while (this.steps.length < numSteps) {
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), stepMs)
      await this.#news.promise
      clearTimeout(timer)
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
        throw new Error(`${this.#options.name} ended after ${this.steps.length} of ${numSteps} steps: ${this.#stderr}`)
      }
    }
  }

  stop(): void {
    this.#signal('SIGSTOP')
  }

  goOn(): void {
    this.#signal('SIGCONT')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const isGone = this.#child.exitCode !== null || this.#child.signalCode !== null
    const closed = isGone ? undefined : new Promise(resolve => this.#child.once('close', resolve))
    this.#signal('SIGKILL')
    await closed
  }

  #tell(): void {
    this.#news.resolve()
    this.#news = deferred<void>()
  }

  #signal(signal: NodeJS.Signals): void {
    for (const pid of processesWith(this.#options.mark)) {
      try {
        process.kill(pid, signal)
      } catch {
        // It has just ended.
      }
    }
  }
}

/** Processes, this one left out, that have an argument with this text. Linux alone tells. */
function processesWith(text: string): number[] {
  const pids = fs.readdirSync('/proc').filter(name => /^\d+$/u.test(name))
  return pids.map(Number).filter(pid => pid !== process.pid && argumentsOf(pid).includes(text))
}

function argumentsOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}
