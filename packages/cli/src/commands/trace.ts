import fs from 'node:fs'
import path from 'node:path'
import { type RunTimelines, timelinesFile } from '@skein/coordinator'
import { replicaOf, SkeinError } from '@skein/core'
import { jobSchedule, parseResolvedJob } from '@skein/job'
import { simulate, type TimedOp, traceOf } from '@skein/schedule'
import { CliErrors } from '../errors.ts'
import { executedCosts } from '../executed-costs.ts'

/**
 * `skein trace RUN`: the newest step of which all ranks have told what their devices did, beside the same schedule simulated with the times
 * that its ops took, for ui.perfetto.dev.
 */
export function trace(options: { readonly run: string; readonly out: string | undefined }): number {
  const folder = path.resolve(options.run)
  const timelines = readTimelines(folder)
  const job = parseResolvedJob(timelines.job)
  const { pp } = job.mesh
  const schedule = jobSchedule(job, timelines.ranks.length / pp)
  const executed = executedOf(timelines, pp)
  const simulated = simulate(schedule, executedCosts(schedule, executed.flat(2)))
  const trace = traceOf(schedule, [
    { name: 'simulated with the times of its ops', ops: simulated.ops },
    ...executed.map((ops, replica) => ({
      name:
        executed.length === 1
          ? `executed, step ${timelines.step}`
          : `executed by replica ${replica}, step ${timelines.step}`,
      ops,
    })),
  ])
  const text = `${JSON.stringify(trace)}\n`
  if (options.out === undefined) process.stdout.write(text)
  else fs.writeFileSync(options.out, text)
  const spans = executed.map(ops => spanOf(ops.flat()).toFixed(1)).join(', ')
  process.stderr.write(
    `step ${timelines.step} of ${schedule.name}: executed in ${spans} ms, simulated in ${simulated.makespan.toFixed(1)} ms with messages that cost nothing\n`,
  )
  return 0
}

/** Per replica and part. */
function executedOf({ ranks }: RunTimelines, pp: number): TimedOp[][][] {
  const replicas: TimedOp[][][] = []
  for (const [rank, { ops }] of ranks.entries()) {
    const replica = (replicas[replicaOf(rank, pp)] ??= [])
    replica.push(ops.map(({ start, end, ...op }) => ({ op, start, end })))
  }
  return replicas
}

function spanOf(ops: readonly TimedOp[]): number {
  const first = ops.reduce((least, { start }) => Math.min(least, start), Number.POSITIVE_INFINITY)
  return ops.reduce((most, { end }) => Math.max(most, end), first) - first
}

function readTimelines(folder: string): RunTimelines {
  const file = path.join(folder, timelinesFile)
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) as RunTimelines
  } catch (cause) {
    throw new SkeinError(CliErrors.NO_TIMELINES, {
      what: `${file} cannot be read`,
      why: 'only runs whose model is cut in parts (mesh.pp above 1) leave one, at their second and every tenth step',
      todo: 'give the folder of such a run',
      cause,
    })
  }
}
