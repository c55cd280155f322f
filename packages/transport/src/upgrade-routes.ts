import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { guardOf, type HttpServer } from './connection-guard.ts'
import { keepAlive } from './keep-alive.ts'
import { refuseUpgrade } from './refusal.ts'

/** Takes over a socket whose client asked for an upgrade on one path. The socket has its 'error' handler. */
export type UpgradeHandler = (request: IncomingMessage, socket: Socket, head: Buffer) => void

interface Route {
  readonly handle: UpgradeHandler
  readonly close: () => void
}

/** Routes by server: several owners share one port, and what none of them knows is answered, not leaked. */
const routesOf = new WeakMap<HttpServer, Map<string, Route>>()

/** Serves upgrades on `path` of `server` until the returned function is called; `close` is called by `closeUpgrades`. */
export function routeUpgrade(server: HttpServer, path: string, handle: UpgradeHandler, close: () => void): () => void {
  let routes = routesOf.get(server)
  if (routes === undefined) {
    routes = new Map()
    routesOf.set(server, routes)
    const known = routes
    server.on('upgrade', (request: IncomingMessage, stream: Duplex, head: Buffer) => {
      // A client that goes away in the middle must not end this process; its owner sees 'close'.
      stream.on('error', () => undefined)
      const socket = stream as Socket // http gives its own TCP and TLS sockets only
      socket.setNoDelay(true)
      keepAlive(socket)
      socket.setTimeout(0)
      const asked = pathOf(request)
      const route = known.get(asked)
      if (route !== undefined) {
        route.handle(request, socket, head)
        return
      }
      guardOf(server).refuse(socket, 'badRequest', { path: asked.slice(0, 100) })
      refuseUpgrade(socket, { status: 404, why: `nothing is served on ${asked.slice(0, 100)}` })
    })
  }
  const route: Route = { handle, close }
  routes.set(path, route)
  const all = routes
  return () => {
    if (all.get(path) === route) all.delete(path)
  }
}

/** Closes whatever is attached to the server. */
export function closeUpgrades(server: HttpServer): void {
  for (const route of routesOf.get(server)?.values() ?? []) route.close()
}

function pathOf(request: IncomingMessage): string {
  return (request.url ?? '/').split('?', 1)[0] ?? '/'
}
