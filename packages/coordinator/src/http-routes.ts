import { asSkeinError, type ErrorRecord, SkeinError } from '@skein/core'
import type { ConnectionGuard } from '@skein/transport'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Access, bearerToken } from './access.ts'
import type { Coordinator } from './coordinator.ts'
import { CoordinatorErrors } from './errors.ts'
import type { EventFeed } from './event-feed.ts'
import { streamEvents } from './event-stream.ts'
import type { CoordinatorStatus } from './status.ts'

/**
 * GET /healthz · GET /status · GET /why · GET /events?from=k · POST /stop. Errors are `{error: ErrorRecord}`.
 *
 * The token is asked for everywhere but at /healthz; where it was drawn for a coordinator that only this machine reaches,
 * reading is open, and only /stop asks.
 */
export function addRoutes(
  server: FastifyInstance,
  parts: {
    readonly coordinator: Coordinator
    readonly feed: EventFeed
    readonly access: Access
    readonly guard: ConnectionGuard
    readonly maxEventStreams: number
  },
): void {
  const { coordinator, feed, access, guard: port, maxEventStreams } = parts
  const status = (): CoordinatorStatus => ({ ...coordinator.status(), refused: port.refusals.counts() })

  const guard = async (request: FastifyRequest, reply: FastifyReply) => {
    const shown = bearerToken(request.headers.authorization)
    const { socket } = request.raw
    if (access.accepts(shown)) {
      port.letIn(socket)
      return
    }
    port.refuse(socket, shown === undefined ? 'noToken' : 'badToken', { path: request.url.slice(0, 100) })
    await reply.code(401).header('www-authenticate', 'Bearer').send({ error: unauthorized() })
  }
  const reading = access.guardsReading ? { onRequest: guard } : {}

  server.get('/healthz', () => ({ ok: true, phase: coordinator.status().phase }))

  server.get('/status', reading, status)

  server.get('/why', reading, () => coordinator.why())

  server.get('/events', reading, async (request, reply) => {
    const from = firstEvent(request)
    if (from === undefined) return reply.code(400).send({ error: badFrom(request) })
    if (coordinator.numStreams >= maxEventStreams) {
      port.refuse(request.raw.socket, 'tooMany', { path: '/events' })
      return reply.code(503).send({ error: tooManyStreams(maxEventStreams) })
    }
    // There is a bound of its own for streams.
    port.letIn(request.raw.socket)
    reply.hijack()
    coordinator.addStream(streamEvents(feed, from, reply.raw))
    return reply
  })

  server.post('/stop', { onRequest: guard }, async (_request, reply) => {
    coordinator.apply({ type: 'stopRequested', reason: 'asked to stop' })
    return reply.code(202).send(status())
  })

  server.setNotFoundHandler(async (request, reply) => {
    port.refuse(request.raw.socket, 'badRequest', { path: request.url.slice(0, 100) })
    const error = new SkeinError(CoordinatorErrors.BAD_REQUEST, {
      what: `${request.method} ${request.url.slice(0, 200)} does not exist here`,
      todo: 'use GET /healthz, GET /status, GET /why, GET /events?from=k or POST /stop',
    })
    return reply.code(404).send({ error: error.toJSON() })
  })

  server.setErrorHandler(async (thrown: unknown, request, reply) => {
    const code = (thrown as { statusCode?: number }).statusCode ?? 500
    if (code >= 500) return reply.code(500).send({ error: asSkeinError(thrown).toJSON() })
    port.refuse(request.raw.socket, 'badRequest', { path: request.url.slice(0, 100) })
    const error = new SkeinError(CoordinatorErrors.BAD_REQUEST, {
      what: thrown instanceof Error ? thrown.message : String(thrown),
      why: 'the request is malformed or too long',
      todo: 'use GET /healthz, GET /status, GET /why, GET /events?from=k or POST /stop without a body',
    })
    return reply.code(code).send({ error: error.toJSON() })
  })
}

function firstEvent(request: FastifyRequest): number | undefined {
  const { from } = request.query as { from?: unknown }
  if (from === undefined) return 0
  return typeof from === 'string' && /^\d{1,15}$/.test(from) ? Number(from) : undefined
}

const unauthorized = (): ErrorRecord =>
  new SkeinError(CoordinatorErrors.UNAUTHORIZED, {
    what: 'the request has no valid token',
    why: 'the token is missing, or of another run',
    todo: 'send the header `Authorization: Bearer TOKEN` with the token the coordinator was started with',
  }).toJSON()

const badFrom = (request: FastifyRequest): ErrorRecord =>
  new SkeinError(CoordinatorErrors.BAD_REQUEST, {
    what: `from=${JSON.stringify((request.query as { from?: unknown }).from).slice(0, 100)} is no number of an event`,
    todo: 'leave it out, or pass the number of events already read: 0, 1, 2 …',
  }).toJSON()

const tooManyStreams = (max: number): ErrorRecord =>
  new SkeinError(CoordinatorErrors.TOO_MANY_STREAMS, {
    what: `${max} event streams are open`,
    why: 'readers do not close their connections',
    todo: 'close some, or raise maxEventStreams',
  }).toJSON()
