import { SkeinError } from '@skein/core'
import { defaultDeadlines } from '@skein/membership'
import { z } from 'zod'
import { CoordinatorErrors } from './errors.ts'

const ms = (minimum: number) => z.number().int().min(minimum).max(86_400_000)

const deadlines = z
  .strictObject({
    gatherMs: ms(1).default(defaultDeadlines.gatherMs).describe('until all workers have joined'),
    regatherMs: ms(1).default(defaultDeadlines.regatherMs).describe('after a restart, until the members are back'),
    prepareMs: ms(1).default(defaultDeadlines.prepareMs).describe('until all have state and lanes, at most'),
    prepareLeastMs: ms(1).default(defaultDeadlines.prepareLeastMs).describe('the same where it has gone fast before'),
    stallMs: ms(1).default(defaultDeadlines.stallMs).describe('from one commit to the next, at most'),
    stallLeastMs: ms(1)
      .default(defaultDeadlines.stallLeastMs)
      .describe('the same where steps are short; above the longest kernel'),
    finishMs: ms(1).default(defaultDeadlines.finishMs).describe('between two reports after the last commit'),
    blameMs: ms(1).default(defaultDeadlines.blameMs).describe('for the end of a worker that a peer reports lost'),
    admitMs: ms(0).default(defaultDeadlines.admitMs).describe('between two regroupings for newcomers'),
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
export const coordinatorConfig = z
  .strictObject({
    job: z.unknown().describe('the parsed job; passed on to workers as it is'),
    jobFile: z.string().min(1).optional().describe('path of the job file, for workers that load it themselves'),
    totalSteps: z.number().int().min(1).describe("the job's last step; default: job.steps"),
    globalBatch: z.number().int().min(1).describe('samples of one step; default: job.batch.global'),
    shares: z
      .enum(['equal', 'measured'])
      .describe('whether slower workers get fewer samples; default: job.batch.shares, else equal'),
    parts: z
      .number()
      .int()
      .min(1)
      .max(4_096)
      .describe('that the model is cut in, a worker each: only whole replicas train; default: job.mesh.pp, else 1'),
    replicas: z
      .array(z.number().int().min(1).max(4_096))
      .min(1)
      .max(4_096)
      .readonly()
      .exactOptional()
      .describe('numbers of replicas that the batch can be divided among, rising from 1; default: any'),
    mirrorEvery: z
      .number()
      .int()
      .min(0)
      .describe('steps between two that neighbours keep in memory, 0: none; default: job.elastic.mirror.every, else 0'),
    numWorkers: z.number().int().min(1).max(4_096).describe('the run begins when so many are here'),
    minWorkers: z.number().int().min(1).max(4_096).describe('fewer pause the run; default: job.elastic.min, else 1'),
    maxWorkers: z.number().int().min(1).max(4_096).describe('more stand by; default: job.elastic.max, else 64'),
    host: z.string().min(1).default('127.0.0.1').describe('address to listen on; beyond loopback a token is needed'),
    port: z.number().int().min(0).max(65_535).default(0).describe('0 takes a free one'),
    token: z.string().min(8).max(512).optional().describe('what workers must show; on loopback drawn where missing'),
    tls: tls.exactOptional().describe('with it the port speaks TLS and nothing else'),
    maxStrangers: z
      .number()
      .int()
      .min(8)
      .max(100_000)
      .default(256)
      .describe('connections that have not shown the token'),
    runDir: z.string().min(1).describe('folder of the run: log, checkpoints, logs'),
    runId: z.string().min(1).optional().describe("default: the folder's name"),
    etcd: z
      .strictObject({
        endpoints: z
          .array(z.url({ protocol: /^https?$/ }))
          .min(1)
          .describe("http(s) URLs of etcd's members"),
        ttlSeconds: z
          .number()
          .int()
          .min(1)
          .max(600)
          .default(5)
          .describe('silence of a leader after which another leads'),
      })
      .exactOptional()
      .describe('keeps the log in etcd instead of runDir; of several coordinators one leads, the others stand by'),
    advertise: z.string().min(1).exactOptional().describe('host by which others reach this coordinator; default: host'),
    resume: z.string().min(1).optional().describe('checkpoint to go on from, or a folder of them'),
    continueRun: z
      .boolean()
      .default(false)
      .describe('go on with the run in runDir from its last commit, with its members'),
    deadlines,
    heartbeat,
    joinTimeoutMs: ms(1).default(10_000).describe('how long a control link may stay without a join'),
    lingerMs: ms(0).default(5_000).describe('how long the end of a run waits for readers and workers'),
    maxEventStreams: z.number().int().min(1).max(10_000).default(64),
  })
  .refine(({ numWorkers, parts }) => numWorkers % parts === 0, {
    error: 'numWorkers must be a multiple of parts: whole replicas',
  })
  .refine(({ mirrorEvery, parts }) => mirrorEvery === 0 || parts > 1, {
    error: 'mirrorEvery needs more than one part: a whole model is held by whoever is left',
  })
  .refine(({ replicas }) => replicas === undefined || replicas[0] === 1, { error: 'replicas must begin with 1' })
  .refine(hasGenerations, {
    error: 'no number of replicas (of `parts` workers each, one of `replicas`) is within minWorkers and maxWorkers',
  })

export type CoordinatorConfig = z.output<typeof coordinatorConfig>
/** What a caller passes; everything with a default may be left out. */
export type CoordinatorConfigInput = Omit<z.input<typeof coordinatorConfig>, FromJob> & {
  readonly [name in FromJob]?: z.input<typeof coordinatorConfig>[name]
}
type FromJob = 'totalSteps' | 'globalBatch' | 'shares' | 'parts' | 'mirrorEvery' | 'minWorkers' | 'maxWorkers'

function hasGenerations({
  minWorkers,
  maxWorkers,
  parts,
  replicas,
}: Readonly<Record<'minWorkers' | 'maxWorkers' | 'parts', number>> & {
  readonly replicas?: readonly number[]
}): boolean {
  const [least, most] = [Math.ceil(minWorkers / parts), Math.floor(maxWorkers / parts)]
  return replicas === undefined ? least <= most : replicas.some(number => number >= least && number <= most)
}

/** Checks and completes the options. @throws SKEIN_COORDINATOR_BAD_OPTIONS naming each field */
export function parseConfig(input: CoordinatorConfigInput): CoordinatorConfig {
  const { steps, batch, mesh, elastic } = (input.job ?? {}) as JobValues
  const parsed = coordinatorConfig.safeParse({
    ...input,
    deadlines: { ...limitsOf(elastic?.limits), ...input.deadlines },
    totalSteps: input.totalSteps ?? steps,
    globalBatch: input.globalBatch ?? batch?.global,
    shares: input.shares ?? batch?.shares ?? 'equal',
    parts: input.parts ?? mesh?.pp ?? 1,
    mirrorEvery: input.mirrorEvery ?? elastic?.mirror?.every ?? 0,
    minWorkers: input.minWorkers ?? elastic?.min ?? 1,
    maxWorkers: input.maxWorkers ?? elastic?.max ?? Math.max(defaultMaxWorkers, input.numWorkers),
  })
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

/** What the coordinator needs to know of a job; all else it passes on unseen. */
interface JobValues {
  readonly steps?: unknown
  readonly batch?: { readonly global?: unknown; readonly shares?: unknown }
  readonly mesh?: { readonly pp?: unknown }
  readonly elastic?: {
    readonly min?: unknown
    readonly max?: unknown
    readonly mirror?: { readonly every?: unknown }
    readonly limits?: {
      readonly prepareSeconds?: number
      readonly stepSeconds?: number
      readonly finishSeconds?: number
    }
  }
}

/** What a job says of its longest waits, as the coordinator calls them. */
function limitsOf({ prepareSeconds, stepSeconds, finishSeconds }: NonNullable<JobValues['elastic']>['limits'] = {}) {
  const inMs = { prepareMs: prepareSeconds, stallMs: stepSeconds, finishMs: finishSeconds }
  return Object.fromEntries(
    Object.entries(inMs).flatMap(([name, seconds]) => (seconds === undefined ? [] : [[name, seconds * 1000]])),
  )
}

/** Of a job that does not say. A worker keeps memory for the lanes of so many: half a MiB each, untouched until they are there. */
const defaultMaxWorkers = 64
