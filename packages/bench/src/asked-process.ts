import { type ChildProcess, spawn } from 'node:child_process'
import readline from 'node:readline'

/** A process that stays alive and answers each line it is sent with one line of JSON; it says `{"ready": true}` first. */
export class AskedProcess {
  readonly name: string
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>
  /** The line with which it said that it is ready. */
  greeting: unknown
  #stderr = ''

  private constructor(name: string, command: string, args: readonly string[], env: Readonly<Record<string, string>>) {
    this.name = name
    this.#child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
    // A missing program shows as the end of its output.
    this.#child.on('error', error => {
      this.#stderr += error.message
    })
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-2000)
    })
    this.#child.stdin?.on('error', () => undefined)
    const output = this.#child.stdout as NonNullable<ChildProcess['stdout']>
    this.#lines = readline.createInterface({ input: output })[Symbol.asyncIterator]()
  }

  /** Rejects, with the tail of its stderr, when the process ends before it is ready. */
  static async start(
    name: string,
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<AskedProcess> {
    const asked = new AskedProcess(name, command, args, env)
    asked.greeting = await asked.#answer()
    return asked
  }

  async ask<Answer>(line: string): Promise<Answer> {
    this.#child.stdin?.write(`${line}\n`)
    return (await this.#answer()) as Answer
  }

  /** Asks it to end, and ends it when it does not within `timeoutMs`. */
  async end(timeoutMs = 5000): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const closed = new Promise<void>(resolve => this.#child.once('close', () => resolve()))
    this.#child.stdin?.end('quit\n')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), timeoutMs)
    await closed
    clearTimeout(timer)
  }

  async #answer(): Promise<unknown> {
    for (;;) {
      const { value, done } = await this.#lines.next()
      if (done === true) throw new Error(`${this.name} ended: ${this.#stderr}`)
      if (value.startsWith('{')) return JSON.parse(value) as unknown
    }
  }
}
