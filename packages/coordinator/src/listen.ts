import { SkeinError } from '@skein/core'
import type { FastifyInstance } from 'fastify'
import { CoordinatorErrors } from './errors.ts'

/** Opens the port; the real one, where 0 was asked for. @throws SKEIN_COORDINATOR_PORT_IN_USE, SKEIN_COORDINATOR_LISTEN_FAILED */
export async function listenOn(server: FastifyInstance, host: string, port: number): Promise<number> {
  try {
    await server.listen({ host, port })
  } catch (cause) {
    throw listenError(host, port, cause)
  }
  const address = server.server.address()
  return typeof address === 'object' && address !== null ? address.port : port
}

/** Why a port could not be opened. */
export function listenError(host: string, port: number, cause: unknown): SkeinError {
  const code = (cause as NodeJS.ErrnoException).code
  if (code === 'EADDRINUSE') {
    return new SkeinError(CoordinatorErrors.PORT_IN_USE, {
      what: `port ${port} on ${host} is in use`,
      why: 'another coordinator or another program listens there',
      todo: 'choose another port, 0 for any free one, or end that program',
      details: { host, port },
      cause,
    })
  }
  return new SkeinError(CoordinatorErrors.LISTEN_FAILED, {
    what: `cannot listen on ${host}, port ${port}: ${cause instanceof Error ? cause.message : String(cause)}`,
    why:
      code === 'EACCES'
        ? 'ports below 1024 need rights that this process does not have'
        : 'the address is not one of this machine',
    todo: 'choose an address of this machine (127.0.0.1, or 0.0.0.0 for all) and a port above 1023',
    details: { host, port, reason: code },
    cause,
  })
}

/** Where processes of this machine reach a server on `host`. */
export function urlOf(host: string, port: number, isTls = false): string {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http${isTls ? 's' : ''}://${reachable.includes(':') ? `[${reachable}]` : reachable}:${port}`
}
