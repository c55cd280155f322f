import path from 'node:path'
import type { Clock } from '@skein/core'
import type { Logger } from '@skein/telemetry'
import type { Refusals } from '@skein/transport'
import type { CoordinatorConfig } from './config.ts'
import { leadByEtcd, type StandingBy } from './etcd/lead.ts'
import type { Leadership } from './etcd/leadership.ts'
import type { Resources } from './resources.ts'
import { type CoordinatorFacts, lockRun, publishFacts, withdrawFacts } from './run-lock.ts'
import type { RunLog } from './run-log.ts'
import { SqliteLog } from './sqlite-log.ts'

/** The run's log, of which this process is the one writer. */
export interface OpenedLog {
  readonly log: RunLog
  /** Where several coordinators share the log. */
  readonly leadership: Leadership | undefined
  /** Where to listen: with etcd it was chosen to stand by on. */
  readonly port: number
  /** Tells others of this machine how the coordinator is reached. */
  readonly publish: (facts: CoordinatorFacts) => void
}

/** Where the log is, and who sees to it that it has one writer: the folder's lock, or a lease in etcd. */
export async function openLog(options: {
  readonly config: CoordinatorConfig
  readonly runDir: string
  readonly clock: Clock
  readonly logger: Logger
  readonly refusals: Refusals
  readonly resources: Resources
  readonly signal: AbortSignal | undefined
  readonly onStandBy: ((facts: StandingBy) => void) | undefined
}): Promise<OpenedLog> {
  const { config, runDir, clock, logger, refusals, resources, signal, onStandBy } = options
  const { etcd, port } = config
  if (etcd === undefined) {
    const lock = resources.own(lockRun(runDir), held => held.release())
    const log = resources.own(new SqliteLog(path.join(runDir, 'coordinator.sqlite')), opened => opened.close())
    return { log, leadership: undefined, port, publish: facts => lock.publish(facts) }
  }
  const led = await leadByEtcd({
    config: { ...config, etcd },
    runId: config.runId ?? path.basename(runDir),
    clock,
    logger,
    refusals,
    resources,
    signal: signal ?? new AbortController().signal,
    onStandBy: facts => onStandBy?.(facts),
  })
  return {
    ...led,
    publish(facts) {
      publishFacts(runDir, facts)
      // Nobody holds the folder: whoever leads next may have published there by then.
      resources.own(facts, own => withdrawFacts(runDir, own))
    },
  }
}
