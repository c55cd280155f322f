import type { Clock } from '@skein/core'
import type { Logger } from '@skein/telemetry'
import type { Refusals } from '@skein/transport'
import type { CoordinatorConfig } from '../config.ts'
import { urlOf } from '../listen.ts'
import type { Resources } from '../resources.ts'
import { EtcdClient } from './etcd-client.ts'
import { EtcdLog, prefixOf } from './etcd-log.ts'
import { campaign, type Leadership } from './leadership.ts'
import { standBy } from './stand-by.ts'

export interface StandingBy {
  /** Of this coordinator. */
  readonly url: string
  readonly port: number
  /** Of the one that leads. */
  readonly leader: string
}

/** Stands by on the coordinator's port until this process leads the run; the log is its own then, as long as it leads. */
export async function leadByEtcd(parts: {
  readonly config: CoordinatorConfig & { readonly etcd: NonNullable<CoordinatorConfig['etcd']> }
  readonly runId: string
  readonly clock: Clock
  readonly logger: Logger
  readonly refusals: Refusals
  readonly resources: Resources
  readonly signal: AbortSignal
  readonly onStandBy: (facts: StandingBy) => void
}): Promise<{ readonly log: EtcdLog; readonly leadership: Leadership; readonly port: number }> {
  const { config, runId, clock, logger, refusals, resources, signal, onStandBy } = parts
  const { host, advertise = host, tls } = config
  const { endpoints, ttlSeconds } = config.etcd
  const client = new EtcdClient(endpoints)
  const prefix = prefixOf(runId)
  const waiting = await standBy({ host, port: config.port, tls, refusals })
  try {
    const { port } = waiting
    const url = urlOf(advertise, port, tls !== undefined)
    const leadership = await campaign({
      client,
      key: `${prefix}leader`,
      url,
      ttlSeconds,
      clock,
      logger,
      signal,
      onOther(leader) {
        waiting.leader = leader
        logger.info({ leader }, 'coordinator.stands-by')
        onStandBy({ url, port, leader })
      },
    })
    resources.own(leadership, led => led.resign())
    logger.info({ runId, url }, 'coordinator.leads')
    return { log: new EtcdLog({ client, prefix, leadership, logger }), leadership, port }
  } finally {
    await waiting.close()
  }
}
