import type { Server } from 'node:http'
import type { Clock } from '@skein/core'
import type { Logger } from '@skein/telemetry'
import { attachControl, type ControlServer } from '@skein/transport'
import type { Access } from './access.ts'
import type { CoordinatorConfig } from './config.ts'
import type { Coordinator } from './coordinator.ts'

/** Control links beyond one for each worker: spares, and workers that come again before their old link is noticed to be dead. */
const spareLinks = 64

/** Serves workers on `server`: each control link's messages and its end go to the coordinator. */
export function attachWorkers(
  server: Server,
  parts: {
    readonly coordinator: Coordinator
    readonly access: Access
    readonly config: CoordinatorConfig
    readonly clock: Clock
    readonly logger: Logger
  },
): ControlServer {
  const { coordinator, access, config, clock, logger } = parts
  return attachControl(server, {
    token: access.token,
    heartbeat: config.heartbeat,
    maxLinks: config.maxWorkers + spareLinks,
    clock,
    logger,
    onLink(link) {
      const id = coordinator.linkOpened({
        send: async message => link.send(message),
        close: reason => void link.close(reason),
      })
      logger.info({ link: id, remote: link.remote }, 'link.opened')
      void link.closed.then(({ kind, code, what }) => {
        logger.info({ link: id, remote: link.remote, outcome: kind, code, reason: what }, 'link.closed')
        coordinator.linkLost(id, what, kind === 'heartbeat-lost')
      })
      link.onMessage(message => coordinator.linkSaid(id, message))
    },
  })
}
