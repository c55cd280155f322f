import { runSkein, startSkein, type RunEvent, tinyJob } from '../skein-process.ts'

/** What is run twice, on the host and in containers. One thread a worker: how many there are decides the order of sums. */
export interface SameRun {
  readonly token: string
  readonly workers: number
  readonly steps: number
}

/** The device of the image; forced on the host too, which may have a better one. */
export const device = 'tensorflow-cpu'

/** Arguments of a coordinator of this run; the job file's path differs between host and image. */
export function coordinatorArgs(run: SameRun, jobFile: string): string[] {
  return ['coordinator', '--job', jobFile, '--workers', String(run.workers), '--steps', String(run.steps), '--json']
}

export function workerArgs(url: string, id: string): string[] {
  return ['worker', '--join', url, '--id', id, '--threads', '1', '--device', device, '--json']
}

/** All events of the coordinator at `url`, to the end of the run, as any reader gets them: through `skein watch`. */
export function followRun(url: string, run: SameRun): Promise<RunEvent[]> {
  return runSkein(['watch', url, '--token', run.token, '--json'], 180_000)
}

/** Coordinator and workers as processes of this machine; returns the run's events. Leaves no process behind. */
export async function runInProcesses(run: SameRun, runDir: string): Promise<RunEvent[]> {
  const env = { SKEIN_TOKEN: run.token }
  const coordinator = startSkein([...coordinatorArgs(run, tinyJob), '--run-dir', runDir], 180_000, env)
  const started = [coordinator]
  try {
    const listening = await coordinator.until(event => event.event === 'listening', 'it listened')
    const url = String(listening['url'])
    for (let i = 0; i < run.workers; i++) started.push(startSkein(workerArgs(url, `w${i}`), 180_000, env))
    return await followRun(url, run)
  } finally {
    for (const one of started) one.process.kill('SIGTERM')
    await Promise.all(started.map(one => one.ended))
  }
}
