import { type ChildProcess, spawn } from 'node:child_process'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'

/** The clone this test runs in. */
export const root = fileURLToPath(new URL('../../', import.meta.url))
const cli = fileURLToPath(new URL('../../packages/cli/dist/main.js', import.meta.url))
export const tinyJob = fileURLToPath(new URL('../../packages/examples/gpt-tiny.job.ts', import.meta.url))

/** One line of `--json` output. */
export type RunEvent = { readonly event: string } & Readonly<Record<string, unknown>>

export interface StepEvent {
  readonly event: 'step'
  readonly step: number
  readonly loss: number
  readonly tokens: number
  readonly samples: readonly [number, number]
  readonly generation: number
  readonly workers: number
  readonly digest: string
  readonly stepMs: number
  readonly computeMs: number
  readonly commMs: number
  readonly bytesSent: number
  /** Since the members started training. */
  readonly elapsedMs: number
}

export interface SkeinRun {
  readonly process: ChildProcess
  /** All events so far, in order. */
  readonly events: RunEvent[]
  /** One more, from elsewhere than its output. */
  add(event: RunEvent): void
  /** Settles with the first event that fits, also one that has already come; rejects when the process ends without it. */
  until(fits: (event: RunEvent) => boolean, what: string): Promise<RunEvent>
  readonly ended: Promise<{ readonly code: number | null; readonly stderr: string }>
}

/** Starts the real CLI; it is killed after `timeoutMs`, so no test outlives it. */
export function startSkein(args: readonly string[], timeoutMs = 120_000, env: Record<string, string> = {}): SkeinRun {
  const child = spawn(process.execPath, [cli, ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  const events: RunEvent[] = []
  const watchers = new Set<(event: RunEvent) => void>()
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  const add = (event: RunEvent) => {
    events.push(event)
    for (const watcher of watchers) watcher(event)
  }
  readline.createInterface({ input: child.stdout }).on('line', line => {
    if (line.startsWith('{')) add(JSON.parse(line) as RunEvent)
  })
  const ended = new Promise<{ code: number | null; stderr: string }>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', code => {
      clearTimeout(timer)
      resolve({ code, stderr })
    })
  })
  return {
    process: child,
    events,
    add,
    ended,
    async until(fits, what) {
      const found = events.find(fits)
      if (found !== undefined) return found
      const { promise, resolve, reject } = Promise.withResolvers<RunEvent>()
      const watcher = (event: RunEvent) => {
        if (fits(event)) resolve(event)
      }
      watchers.add(watcher)
      void ended.then(({ code }) =>
        reject(new Error(`skein ended with ${code} before ${what}\n${stderr}\n${JSON.stringify(events.slice(-3))}`)),
      )
      try {
        return await promise
      } finally {
        watchers.delete(watcher)
      }
    },
  }
}

/** Runs the CLI to its end and returns its events; throws when it fails. */
export async function runSkein(
  args: readonly string[],
  timeoutMs = 120_000,
  env: Record<string, string> = {},
): Promise<RunEvent[]> {
  const run = startSkein(args, timeoutMs, env)
  const { code, stderr } = await run.ended
  if (code !== 0) {
    throw new Error(`skein ${args.join(' ')} ended with ${code}\n${stderr}\n${JSON.stringify(run.events.slice(-3))}`)
  }
  return run.events
}

export function stepsOf(events: readonly RunEvent[]): StepEvent[] {
  return events.filter(event => event.event === 'step') as unknown as StepEvent[]
}
