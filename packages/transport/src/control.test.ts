import { once } from 'node:events'
import http from 'node:http'
import type net from 'node:net'
import { deferred, SkeinError } from '@skein/core'
import { type CoordinatorMessage, type WorkerMessage, WireErrors } from '@skein/wire'
import { expect, onTestFinished, test, vi } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { attachControl, type ControlServerOptions } from './attach-control.ts'
import type { ControlLink } from './control-link.ts'
import { type DialControlOptions, dialControl } from './dial-control.ts'
import { TransportErrors } from './errors.ts'
import { fakeServer, openHandles } from './lane-rig.test.util.ts'
import { listen } from './listen.ts'

type Side = ControlLink<CoordinatorMessage, WorkerMessage>
const handlesAtStart = openHandles()
const token = 'join-token'
const beat = (step: number): WorkerMessage => ({ type: 'heartbeat', progress: 0, step, opsEntered: 0 })
const start = (step: number): CoordinatorMessage => ({ type: 'start', generation: 1, step })

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof SkeinError ? error.code : `not typed: ${String(error)}`),
  )
}

/** A coordinator's port; every link that comes is given out once. */
async function coordinator(options: Partial<ControlServerOptions> = {}) {
  const listener = await listen()
  const links: Side[] = []
  let waiting = deferred<Side>()
  const control = attachControl(listener.server, {
    token,
    onLink: link => {
      links.push(link)
      waiting.resolve(link)
    },
    ...options,
  })
  onTestFinished(async () => {
    await control.close()
    await listener.close()
  })
  const url = `http://127.0.0.1:${listener.port}`
  const dial = (change: Partial<DialControlOptions> = {}) => dialControl({ url, token, timeoutMs: 5_000, ...change })
  const pair = async (change: Partial<DialControlOptions> = {}): Promise<[ControlLink, Side]> => {
    waiting = deferred<Side>()
    const near = await dial(change)
    return [near, await waiting.promise]
  }
  return { url, listener, control, links, dial, pair }
}

/** A WebSocket server of someone else's making. */
async function foreignServer(onLink: (ws: WebSocket) => void): Promise<string> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, autoPong: false })
  server.on('connection', ws => {
    ws.on('error', () => undefined)
    onLink(ws)
  })
  await once(server, 'listening')
  onTestFinished(() => {
    for (const ws of server.clients) ws.terminate()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`
}

/** The next `count` messages of a link. */
function messagesOf<In>(link: ControlLink<never, In>, count: number): Promise<In[]> {
  const messages: In[] = []
  const complete = deferred<In[]>()
  link.onMessage(message => {
    messages.push(message)
    if (messages.length === count) complete.resolve(messages)
  })
  return complete.promise
}

test('messages go both ways, in order, also those sent before anyone listened', async () => {
  const { pair } = await coordinator()
  const [near, far] = await pair()
  const steps = Array.from({ length: 200 }, (_, i) => i)
  await Promise.all([...steps.map(step => near.send(beat(step))), ...steps.map(step => far.send(start(step)))])
  const [atFar, atNear] = await Promise.all([messagesOf(far, 200), messagesOf(near, 200)])
  expect(atFar).toEqual(steps.map(beat))
  expect(atNear).toEqual(steps.map(start))
})

test('a job of a megabyte arrives', async () => {
  const { pair } = await coordinator()
  const [near, far] = await pair()
  const job = { text: 'x'.repeat(2 ** 20) }
  const received = messagesOf(near, 1)
  await far.send({ type: 'welcome', runId: 'r', runDir: 'd', maxWorkers: 1, job })
  expect(await received).toMatchObject([{ job }])
})

test('close says what was sent before, gives its reason to the peer, and is idempotent', async () => {
  const { pair } = await coordinator()
  const [near, far] = await pair()
  const received = messagesOf(far, 50)
  near.onMessage(() => undefined)
  for (let step = 0; step < 50; step++) void near.send(beat(step))
  const closing = near.close('drained')
  expect(await codeOf(near.send(beat(50)))).toBe(TransportErrors.CLOSED.code)
  expect(await received).toHaveLength(50)
  expect((await far.closed).kind).toBe('closed-by-peer')
  expect((await far.closed).what).toContain('drained')
  expect((await closing).kind).toBe('closed-by-us')
  expect(await near.close()).toBe(await near.closed)
  expect(await codeOf(far.send(start(1)))).toBe(TransportErrors.PEER_CLOSED.code)
})

test('closing a link whose reading never began still says goodbye', async () => {
  const { pair } = await coordinator()
  const [near, far] = await pair()
  far.onMessage(() => undefined)
  expect((await near.close()).kind).toBe('closed-by-us')
  expect((await far.closed).kind).toBe('closed-by-peer')
})

test('a peer whose socket is gone is a reset, at once, and its sends reject', async () => {
  const sockets: net.Socket[] = []
  const { listener, pair } = await coordinator()
  listener.server.on('connection', socket => sockets.push(socket))
  const [near] = await pair()
  near.onMessage(() => undefined)
  for (const socket of sockets) socket.resetAndDestroy()
  expect(await near.closed).toMatchObject({ kind: 'reset', code: TransportErrors.PEER_RESET.code })
  expect(await codeOf(near.send(beat(1)))).toBe(TransportErrors.PEER_RESET.code)
})

test('a peer that is connected but silent is lost, for both sides', async () => {
  const heartbeat = { intervalMs: 10, deadAfterMs: 60 }
  const url = await foreignServer(() => undefined)
  const near = await dialControl({ url, token, heartbeat })
  near.onMessage(() => undefined)
  expect(await near.closed).toMatchObject({ kind: 'heartbeat-lost', code: TransportErrors.HEARTBEAT_LOST.code })

  const lost = deferred<Side>()
  const { url: ours } = await coordinator({
    heartbeat,
    onLink: link => {
      link.onMessage(() => undefined)
      lost.resolve(link)
    },
  })
  const mute = new WebSocket(`${ours}/control`, { headers: { authorization: `Bearer ${token}` }, autoPong: false })
  mute.on('error', () => undefined)
  const link = await lost.promise
  expect((await link.closed).kind).toBe('heartbeat-lost')
  await once(mute, 'close')
})

test('two sides that only ping stay connected', async () => {
  const heartbeat = { intervalMs: 5, deadAfterMs: 1_000 }
  let pings = 0
  const { pair } = await coordinator({ heartbeat })
  const [near, far] = await pair({ heartbeat: { intervalMs: 5, deadAfterMs: 1_000 }, clock: { now: () => pings++ } })
  near.onMessage(() => undefined)
  const received = messagesOf(far, 1)
  // The near clock moves with every ping it hears and every tick: 400 readings are many intervals.
  await vi.waitUntil(() => pings > 400, { timeout: 20_000 })
  await near.send(beat(1))
  expect(await received).toEqual([beat(1)])
})

test.each([
  ['garbage', Uint8Array.of(0xc1, 0xff), WireErrors.MESSAGE_GARBAGE.code],
  ['text', 'hello', TransportErrors.UNEXPECTED_DATA.code],
  ['a message over the limit', new Uint8Array(5_000), TransportErrors.UNEXPECTED_DATA.code],
])('%s ends the link as a protocol error on both sides', async (_, bytes, code) => {
  const { url, links } = await coordinator({ maxMessageBytes: 1_000 })
  const peer = new WebSocket(`${url}/control`, { headers: { authorization: `Bearer ${token}` } })
  await once(peer, 'open')
  const [link] = links
  if (link === undefined) throw new Error('the link came with the opening')
  link.onMessage(() => expect.fail('a message'))
  const closed = once(peer, 'close')
  peer.send(bytes)
  expect(await link.closed).toMatchObject({ kind: 'protocol-error', code })
  const [closeCode] = (await closed) as [number]
  expect([1008, 1009]).toContain(closeCode)
})

test('a handler that throws ends its link with the error, not the process', async () => {
  const { pair } = await coordinator()
  const [near, far] = await pair()
  near.onMessage(() => undefined)
  far.onMessage(() => {
    throw new RangeError('a defect')
  })
  await near.send(beat(1))
  expect(await far.closed).toMatchObject({ kind: 'protocol-error', code: 'SKEIN_INTERNAL', what: 'a defect' })
  expect((await near.closed).kind).toBe('closed-by-peer')
})

test('a peer that does not read is cut off when too much waits for it', async () => {
  const url = await foreignServer(ws => ws.pause())
  const near = await dialControl({ url, token, maxBufferedBytes: 2 ** 20 })
  const message: WorkerMessage = { type: 'leave', reason: 'x'.repeat(4_000) }
  let code = 'resolved'
  for (let i = 0; i < 20_000 && code === 'resolved'; i++) {
    near.send(message).catch((error: SkeinError) => {
      code = error.code
    })
    if (i % 100 === 0) await new Promise(resolve => setImmediate(resolve))
  }
  expect(await near.closed).toMatchObject({ kind: 'protocol-error', code: TransportErrors.PEER_SLOW.code })
})

test('a message that cannot be is refused where it is sent, and the link goes on', async () => {
  const { pair } = await coordinator()
  const [near, far] = await pair()
  expect(() => near.send(beat(-1))).toThrow(/step/)
  const received = messagesOf(far, 1)
  await near.send(beat(1))
  expect(await received).toEqual([beat(1)])
})

test('a dialer is refused with its reason: token, address, too many', async () => {
  const { url, dial } = await coordinator({ maxLinks: 1 })
  expect(await codeOf(dial({ token: 'join-tokem' }))).toBe(TransportErrors.UNAUTHORIZED.code)
  expect(await codeOf(dial({ token: '' }))).toBe(TransportErrors.UNAUTHORIZED.code)
  expect(await codeOf(dial({ url: 'ftp://x' }))).toBe(TransportErrors.BAD_ADDRESS.code)
  expect(await codeOf(dial({ url: 'nonsense' }))).toBe(TransportErrors.BAD_ADDRESS.code)
  expect(await codeOf(dial({ url: `${url}/elsewhere` }))).toBe(TransportErrors.HANDSHAKE_INVALID.code)
  await dial({ url: `${url}/` })
  expect(await codeOf(dial())).toBe(TransportErrors.BUSY.code)
})

test('a coordinator that is not there, hangs or is another program is a typed error in bounded time', async () => {
  const listener = await listen()
  const url = `http://127.0.0.1:${listener.port}`
  await listener.close()
  expect(await codeOf(dialControl({ url, token }))).toBe(TransportErrors.UNREACHABLE.code)
  expect(await codeOf(dialControl({ url: 'http://nowhere.invalid:1', token }))).toBe(TransportErrors.UNREACHABLE.code)

  await using mute = await fakeServer({ name: 'TCP', kind: 'raw', overPath: false, stripes: 1 }, '', () => undefined)
  const muteUrl = `http://127.0.0.1:${mute.address.port}`
  expect(await codeOf(dialControl({ url: muteUrl, token, timeoutMs: 50 }))).toBe(TransportErrors.HANDSHAKE_TIMEOUT.code)
  const abort = new AbortController()
  const dialling = codeOf(dialControl({ url: muteUrl, token, signal: abort.signal }))
  abort.abort()
  expect(await dialling).toBe('SKEIN_ABORTED')

  const other = http.createServer((_, response) => response.end('hello')).listen(0, '127.0.0.1')
  await once(other, 'listening')
  onTestFinished(() => {
    other.close()
    other.closeAllConnections()
  })
  const otherUrl = `http://127.0.0.1:${(other.address() as net.AddressInfo).port}`
  expect(await codeOf(dialControl({ url: otherUrl, token }))).toBe(TransportErrors.HANDSHAKE_INVALID.code)
})

test('closing the server closes every link with the reason, and refuses new ones', async () => {
  const { control, pair, dial } = await coordinator()
  const pairs = [await pair(), await pair()]
  for (const [near] of pairs) near.onMessage(() => undefined)
  await Promise.all([control.close('the run is over'), control.close()])
  for (const [near, far] of pairs) {
    expect((await far.closed).kind).toBe('closed-by-us')
    expect((await near.closed).what).toContain('the run is over')
  }
  expect(await codeOf(dial())).toBe(TransportErrors.HANDSHAKE_INVALID.code)
})

test('nothing is left open after all tests above', async () => {
  await vi.waitUntil(() => openHandles() <= handlesAtStart, { timeout: 10_000 })
})
