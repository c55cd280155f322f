import { spawn } from 'node:child_process'
import readline from 'node:readline'

export interface JsonLinesOptions {
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly timeoutMs: number
  /** Aborting it asks the command to end (SIGINT, twice); that it then ends in some other way than well is no failure. */
  readonly signal?: AbortSignal
  /** Called with each line of standard output that is a JSON object, and when it came (ms since the start). */
  readonly onLine?: (line: Record<string, unknown>, atMs: number) => void
}

/** Runs a command that prints JSON lines to its end; rejects with the tail of its stderr when it fails or takes too long. */
export async function runJsonLines(command: string, options: JsonLinesOptions): Promise<void> {
  const started = performance.now()
  const child = spawn(command, options.args, {
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs)
  options.signal?.addEventListener('abort', () => {
    child.kill('SIGINT')
    child.kill('SIGTERM')
  })
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-4000)
  })
  readline.createInterface({ input: child.stdout }).on('line', line => {
    if (!line.startsWith('{')) return
    options.onLine?.(JSON.parse(line) as Record<string, unknown>, performance.now() - started)
  })
  try {
    await new Promise<void>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', code => {
        if (code === 0 || options.signal?.aborted === true) resolve()
        else reject(new Error(`${command} ${options.args.join(' ')} ended with ${code}:\n${stderr}`))
      })
    })
  } finally {
    clearTimeout(timer)
  }
}
