import { SkeinError } from '@skein/core'
import { defaultDeadlines } from '@skein/membership'
import { z } from 'zod'
import { CoordinatorErrors } from './errors.ts'

const ms = (minimum: number) => z.number().int().min(minimum).max(86_400_000)

const deadlines = z
  .strictObject({
    gatherMs: ms(1).default(defaultDeadlines.gatherMs).describe('until all workers have joined'),
    prepareMs: ms(1).default(defaultDeadlines.prepareMs).describe('until all have model, data and lanes'),
    stallMs: ms(1).default(defaultDeadlines.stallMs).describe('from one commit to the next; above the slowest step'),
    finishMs: ms(1).default(defaultDeadlines.finishMs).describe('between two reports after the last commit'),
    blameMs: ms(1).default(defaultDeadlines.blameMs).describe('for the word of a worker that a peer reports lost'),
  })
  .prefault({})

const tls = z.strictObject({
  cert: z.string().min(1).describe('PEM text of the certificate, with those between it and its authority'),
  key: z.string().min(1).describe('PEM text of its private key'),
  ca: z.string().min(1).exactOptional().describe('authority of whom a worker must show a certificate'),
})

const heartbeat = z
  .strictObject({
    intervalMs: ms(10).default(1_000).describe('between two heartbeats on a control link'),
    deadAfterMs: ms(20).default(5_000).describe('silence after which a link counts as lost'),
  })
  .prefault({})
  .refine(value => value.deadAfterMs >= 2 * value.intervalMs, {
    error: 'heartbeat.deadAfterMs must be at least twice heartbeat.intervalMs',
  })

/** Plain values only; clock, logger and signal are passed beside them. */
export const coordinatorConfig = z.strictObject({
  job: z.unknown().describe('the parsed job; passed on to workers as it is'),
  jobFile: z.string().min(1).optional().describe('path of the job file, for workers that load it themselves'),
  totalSteps: z.number().int().min(1).describe("the job's last step; default: job.steps"),
  numWorkers: z.number().int().min(1).max(4_096),
  host: z.string().min(1).default('127.0.0.1').describe('address to listen on; beyond loopback a token is needed'),
  port: z.number().int().min(0).max(65_535).default(0).describe('0 takes a free one'),
  token: z.string().min(8).max(512).optional().describe('what workers must show; on loopback drawn where missing'),
  tls: tls.exactOptional().describe('with it the port speaks TLS and nothing else'),
  maxStrangers: z.number().int().min(8).max(100_000).default(256).describe('connections that have not shown the token'),
  runDir: z.string().min(1).describe('folder of the run: log, checkpoints, logs'),
  runId: z.string().min(1).optional().describe("default: the folder's name"),
  resume: z.string().min(1).optional().describe('checkpoint to go on from, or a folder of them'),
  deadlines,
  heartbeat,
  joinTimeoutMs: ms(1).default(10_000).describe('how long a control link may stay without a join'),
  lingerMs: ms(0).default(5_000).describe('how long the end of a run waits for readers and workers'),
  maxEventStreams: z.number().int().min(1).max(10_000).default(64),
})

export type CoordinatorConfig = z.output<typeof coordinatorConfig>
/** What a caller passes; everything with a default may be left out. */
export type CoordinatorConfigInput = Omit<z.input<typeof coordinatorConfig>, 'totalSteps'> & {
  readonly totalSteps?: number
}

/** Checks and completes the options. @throws SKEIN_COORDINATOR_BAD_OPTIONS naming each field */
export function parseConfig(input: CoordinatorConfigInput): CoordinatorConfig {
  const parsed = coordinatorConfig.safeParse({ ...input, totalSteps: input.totalSteps ?? stepsOf(input.job) })
  if (parsed.success) return parsed.data
  throw new SkeinError(CoordinatorErrors.BAD_OPTIONS, {
    what: parsed.error.issues
      .map(issue => `${issue.path.length === 0 ? 'options' : issue.path.join('.')}: ${issue.message}`)
      .join('; '),
    why: 'the coordinator cannot start with these options',
    todo: 'correct the fields named here',
    details: { fields: parsed.error.issues.map(issue => issue.path.join('.')) },
  })
}

function stepsOf(job: unknown): unknown {
  return typeof job === 'object' && job !== null && 'steps' in job ? job.steps : undefined
}
