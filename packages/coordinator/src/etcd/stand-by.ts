import type http from 'node:http'
import { once } from 'node:events'
import { ConnectionGuard, createHttpServer, type Refusals, type TlsIdentity } from '@skein/transport'
import { listenError } from '../listen.ts'

export interface StandBy {
  readonly port: number
  /** Who leads, for those who ask. */
  leader: string | undefined
  /** Leaves the port to whoever listens next. */
  close(): Promise<void>
}

const misdirected = 421
const why = 'this coordinator stands by'

/**
 * The port of a coordinator that does not lead: says so, and who does, to everyone (no secret: they all need the token there).
 * @throws SKEIN_COORDINATOR_PORT_IN_USE, SKEIN_COORDINATOR_LISTEN_FAILED
 */
export async function standBy(parts: {
  readonly host: string
  readonly port: number
  readonly tls: TlsIdentity | undefined
  readonly refusals: Refusals
}): Promise<StandBy> {
  const { host, port, tls, refusals } = parts
  let leader: string | undefined
  const headers = () => ({ 'x-skein-reason': why, ...(leader === undefined ? {} : { 'x-skein-leader': leader }) })
  const server = createHttpServer({
    guard: new ConnectionGuard({ refusals }),
    requestTimeoutMs: 20_000,
    tls,
    onRequest(request, response) {
      const isHealth = request.url === '/healthz'
      response.writeHead(isHealth ? 200 : misdirected, { 'content-type': 'application/json', ...headers() })
      response.end(`${JSON.stringify({ ok: isHealth, phase: 'standby', leader: leader ?? null })}\n`)
    },
  })
  server.on('upgrade', (_: http.IncomingMessage, socket) => {
    const lines = Object.entries({ ...headers(), connection: 'close', 'content-length': 0 })
    socket.on('error', () => undefined)
    const head = lines.map(([k, v]) => `${k}: ${v}\r\n`).join('')
    // Not left to a peer that never closes its end: it would hold the port when this coordinator is to lead.
    socket.end(`HTTP/1.1 ${misdirected} Misdirected Request\r\n${head}\r\n`, () => socket.destroy())
  })
  server.listen({ host, port })
  await once(server, 'listening').catch((cause: unknown) => {
    throw listenError(host, port, cause)
  })
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    get leader() {
      return leader
    },
    set leader(url) {
      leader = url
    },
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}
