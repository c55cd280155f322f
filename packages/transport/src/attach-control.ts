import type { IncomingMessage } from 'node:http'
import { type Logger, nullLogger } from '@skein/telemetry'
import {
  type CoordinatorMessage,
  decodeWorkerMessage,
  defaultMaxMessageBytes,
  encodeCoordinatorMessage,
  type WorkerMessage,
} from '@skein/wire'
import { hasToken, showsToken } from './bearer.ts'
import { guardOf, type HttpServer } from './connection-guard.ts'
import { type ControlLimits, type ControlLink, WsControlLink } from './control-link.ts'
import { type Refusal, refuseUpgrade } from './refusal.ts'
import { certificateRefusal } from './tls-identity.ts'
import { routeUpgrade } from './upgrade-routes.ts'
import { webSocketServer } from './web-sockets.ts'

export const controlPath = '/control'

export interface ControlServerOptions extends ControlLimits {
  /** What workers must show. */
  readonly token: string
  /** Links at a time; more are refused. Default 4096. */
  readonly maxLinks?: number
  readonly logger?: Logger
  /** Takes over each new link; it calls `link.onMessage` before it returns. */
  onLink(link: ControlLink<CoordinatorMessage, WorkerMessage>): void
}

export interface ControlServer {
  /** Closes every link in good order and refuses new ones; idempotent. Resolves when all are closed, at most 2 s later. */
  close(reason?: string): Promise<void>
}

/** Serves the coordinator's side of control links on `/control` of `server`, which stays the caller's. */
export function attachControl(server: HttpServer, options: ControlServerOptions): ControlServer {
  const { token, maxLinks = 4096, logger = nullLogger } = options
  const maxMessageBytes = options.maxMessageBytes ?? defaultMaxMessageBytes
  const wss = webSocketServer(maxMessageBytes)
  const guard = guardOf(server)
  const links = new Set<ControlLink<CoordinatorMessage, WorkerMessage>>()
  const codec = { encode: encodeCoordinatorMessage, decode: decodeWorkerMessage }
  const refusalOf = (request: IncomingMessage): Refusal | undefined => {
    const uncertified = certificateRefusal(request)
    if (uncertified !== undefined) return uncertified
    if (!hasToken(request, token)) {
      const reason = showsToken(request) ? 'badToken' : 'noToken'
      return { status: 401, reason, why: 'the join token is missing or wrong' }
    }
    if (links.size < maxLinks) return undefined
    return { status: 503, reason: 'tooMany', why: `${maxLinks} links are open, the limit` }
  }
  const close = async (reason?: string) => {
    detach()
    await Promise.all([...links].map(link => link.close(reason)))
    wss.close()
  }
  const detach = routeUpgrade(
    server,
    controlPath,
    (request, socket, head) => {
      const remote = `${socket.remoteAddress ?? 'a local socket'}:${socket.remotePort ?? ''}`
      const refusal = refusalOf(request)
      if (refusal !== undefined) {
        guard.refuse(socket, refusal.reason, { path: controlPath })
        return refuseUpgrade(socket, refusal)
      }
      guard.letIn(socket)
      wss.handleUpgrade(request, socket, head, ws => {
        const link = new WsControlLink(ws, remote, codec, { ...options, maxMessageBytes })
        links.add(link)
        logger.debug({ remote }, 'control.opened')
        void link.closed.then(({ kind, code, what }) => {
          links.delete(link)
          if (kind === 'protocol-error') guard.refuse(socket, 'badMessage', { remote, code })
          logger.debug({ remote, outcome: kind, code, reason: what }, 'control.closed')
        })
        options.onLink(link)
      })
    },
    () => {
      close().catch((error: unknown) => logger.error({ err: error }, 'control.close-failed'))
    },
  )
  return { close }
}
