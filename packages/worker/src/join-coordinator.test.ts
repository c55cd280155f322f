import http from 'node:http'
import { once } from 'node:events'
import net from 'node:net'
import { nullLogger } from '@skein/telemetry'
import { attachControl, listen, TransportErrors } from '@skein/transport'
import { describe, expect, it, onTestFinished } from 'vitest'
import { WorkerErrors } from './errors.ts'
import { joinCoordinator } from './join-coordinator.ts'

const token = 'join-token'

async function portOf(server: net.Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`
}

/** Answers every upgrade with 421; `leader` is asked each time. */
async function standby(leader: () => string | undefined = () => undefined) {
  let asked = 0
  const server = http.createServer()
  server.on('upgrade', (_request, socket) => {
    asked++
    const named = leader()
    const hint = named === undefined ? [] : [`x-skein-leader: ${named}`]
    const head = ['HTTP/1.1 421 Misdirected Request', 'x-skein-reason: this coordinator stands by', ...hint]
    socket.end([...head, 'connection: close', '', ''].join('\r\n'))
  })
  return { url: await portOf(server), asked: () => asked }
}

/** Takes connections and says nothing, as a process does that was stopped. */
function stopped(): Promise<string> {
  const sockets = new Set<net.Socket>()
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
  })
  return portOf(net.createServer(socket => sockets.add(socket.on('error', () => undefined))))
}

async function leader(): Promise<string> {
  const listener = await listen()
  const control = attachControl(listener.server, { token, onLink: link => link.onMessage(() => undefined) })
  onTestFinished(async () => {
    await control.close()
    await listener.close()
  })
  return `http://127.0.0.1:${listener.port}`
}

/** Where nothing listens. */
const nowhere = 'http://127.0.0.1:1'

async function join(urls: readonly string[], change: { readonly timeoutMs?: number; readonly token?: string } = {}) {
  const beganMs = performance.now()
  const { link, url } = await joinCoordinator({
    start: { token: change.token ?? token, tls: undefined, heartbeat: { intervalMs: 1_000, deadAfterMs: 5_000 } },
    urls,
    timeoutMs: change.timeoutMs ?? 20_000,
    signal: new AbortController().signal,
    logger: nullLogger,
  })
  await link.close()
  return { url, tookMs: performance.now() - beganMs }
}

describe('a worker that knows several coordinators', () => {
  it('joins the one that leads, past one that is not there and one that stands by', async () => {
    const [{ url: waiting }, leading] = await Promise.all([standby(), leader()])
    expect((await join([nowhere, waiting, leading])).url).toBe(leading)
  })

  it('follows the word of a standby at once, and does not ask the others', async () => {
    const leading = await leader()
    const [naming, other] = await Promise.all([standby(() => leading), standby()])
    expect((await join([naming.url, other.url])).url).toBe(leading)
    expect(other.asked()).toBe(0)
  })

  it('waits about 3 s for one that takes the connection and says nothing, then goes on', async () => {
    const [hanging, leading] = await Promise.all([stopped(), leader()])
    const { url, tookMs } = await join([hanging, leading])
    expect(url).toBe(leading)
    expect(tookMs).toBeGreaterThan(2_900)
    expect(tookMs).toBeLessThan(4_500)
  })

  it('asks again until one of them leads', async () => {
    const leading = await leader()
    let times = 0
    const late = await standby(() => (++times < 4 ? nowhere : leading))
    expect((await join([late.url, nowhere])).url).toBe(leading)
    expect(times).toBe(4)
  })

  it('says that all stand by where none takes the lead in time', async () => {
    const [a, b] = await Promise.all([standby(), standby()])
    await expect(join([a.url, b.url], { timeoutMs: 300 })).rejects.toMatchObject({
      code: WorkerErrors.COORDINATOR_UNREACHABLE.code,
      what: `of the coordinators at ${a.url}, ${b.url} none took the lead for 300 ms`,
      cause: { code: TransportErrors.STANDBY.code },
    })
    expect(b.asked()).toBeGreaterThan(1)
  })

  it('ends at once where its token is wrong', async () => {
    const leading = await leader()
    await expect(join([nowhere, leading], { token: 'wrong' })).rejects.toMatchObject({
      code: TransportErrors.UNAUTHORIZED.code,
    })
  })
})
