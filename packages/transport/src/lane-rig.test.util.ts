import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import path from 'node:path'
import tls from 'node:tls'
import { issueAuthority, issueForHosts } from '@skein/certs'
import { deferred, type Random, type SkeinError } from '@skein/core'
import { encodeHeader, type FrameHeader, headerBytes } from '@skein/wire'
import { WebSocketServer } from 'ws'
import { attachLanes, type LaneServer, type LaneServerOptions } from './attach-lanes.ts'
import type { DialLaneOptions } from './dial-lane.ts'
import type { LaneKind, LaneReader, LaneSink, LaneWriter } from './lane.ts'
import type { LaneDoor } from './lane-door.ts'
import { laneProof, laneProofNames, parseLaneProof } from './lane-proof.ts'
import { type LaneRequest, parseLaneRequest } from './lane-request.ts'
import { type Listener, listen } from './listen.ts'
import type { Stripes } from './stripe-channels.ts'
import { dialStripedLane } from './dial-striped-lane.ts'
import { stripedLane } from './striped-writer.ts'
import type { TlsIdentity } from './tls-identity.ts'

export const token = 'lane-token'
export const generation = 7
/** The rank that receives, and the one that sends. */
export const receiver = 1
export const sender = 0

export interface Medium {
  readonly name: string
  readonly kind: LaneKind
  readonly overPath: boolean
  readonly stripes: number
  /** What both ends show, where it speaks TLS. */
  readonly tls?: TlsIdentity
}

const day = 86_400_000
/** Around now, or somewhere else. */
export const validity = (fromDays = -1, toDays = 1) => ({
  notBefore: new Date(Date.now() + fromDays * day),
  notAfter: new Date(Date.now() + toDays * day),
})

const authority = await issueAuthority('skein test', validity())
/** A certificate of the authority of these tests. */
export async function identityFor(hosts: readonly string[], when = validity()): Promise<TlsIdentity> {
  return { ...(await issueForHosts(authority, hosts, when)), ca: authority.cert }
}
export const identity = await identityFor(['127.0.0.1', 'localhost'])

/** How to dial a lane of a medium. */
export type Address = Pick<DialLaneOptions, 'kind' | 'host' | 'port' | 'path' | 'tls'> & Stripes

export const media: readonly Medium[] = [
  { name: 'raw over TCP', kind: 'raw', overPath: false, stripes: 1 },
  { name: 'raw over a Unix socket', kind: 'raw', overPath: true, stripes: 1 },
  { name: 'WebSocket', kind: 'ws', overPath: false, stripes: 1 },
  { name: 'raw over TLS', kind: 'raw', overPath: false, stripes: 1, tls: identity },
  { name: 'WebSocket over TLS', kind: 'ws', overPath: false, stripes: 1, tls: identity },
]

export const stripedMedia: readonly Medium[] = [
  { name: 'two stripes over TCP', kind: 'raw', overPath: false, stripes: 2 },
  { name: 'four stripes over TCP', kind: 'raw', overPath: false, stripes: 4 },
  { name: 'three stripes over WebSockets', kind: 'ws', overPath: false, stripes: 3 },
  { name: 'three stripes over TLS', kind: 'raw', overPath: false, stripes: 3, tls: identity },
]

export function headerOf(payloadBytes: number, fields: Partial<FrameHeader> = {}): FrameHeader {
  return {
    kind: 'data',
    dtype: 'uint8',
    flags: 0,
    generation,
    opSeq: 0,
    fromRank: sender,
    algorithm: 0,
    chunk: 0,
    count: payloadBytes,
    payloadBytes,
    opElems: payloadBytes,
    tag: 0,
    payloadChecksum: 0,
    ...fields,
  }
}

export function headerToBytes(header: FrameHeader): Uint8Array {
  const view = new DataView(new ArrayBuffer(headerBytes))
  encodeHeader(view, 0, header)
  return new Uint8Array(view.buffer)
}

export function randomBytes(random: Random, length: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4))
  for (let i = 0; i < words.length; i++) words[i] = random.nextUint32()
  return new Uint8Array(words.buffer, 0, length)
}

/** A sink that keeps what it receives, and waits while `isOpen` is false. */
export class KeepingSink implements LaneSink {
  isOpen = true
  readonly frames: { readonly header: FrameHeader; readonly payload: Uint8Array }[] = []
  readonly failures: SkeinError[] = []
  readonly waiting = deferred<FrameHeader>()
  #place = new Uint8Array(0)
  #wanted = 0
  #reached = deferred<void>()

  place(header: FrameHeader): Uint8Array | 'wait' {
    if (!this.isOpen) {
      this.waiting.resolve(header)
      return 'wait'
    }
    this.#place = new Uint8Array(header.payloadBytes)
    return this.#place
  }

  received(header: FrameHeader): void {
    this.frames.push({ header, payload: this.#place })
    if (this.frames.length === this.#wanted) this.#reached.resolve()
  }

  failed(error: SkeinError): void {
    this.failures.push(error)
  }

  /** Resolves when `count` frames are here. */
  async until(count: number): Promise<void> {
    if (this.frames.length >= count) return
    this.#wanted = count
    this.#reached = deferred()
    await this.#reached.promise
  }
}

/** The sending side of one medium, with its door open. */
export class SendingSide implements AsyncDisposable {
  readonly medium: Medium
  readonly listener: Listener
  readonly lanes: LaneServer
  readonly door: LaneDoor

  constructor(medium: Medium, listener: Listener, options: LaneServerOptions) {
    this.medium = medium
    this.listener = listener
    this.lanes = attachLanes(listener.server, options)
    this.door = this.lanes.open({ generation, rank: sender, worldSize: 4, token })
  }

  static async open(medium: Medium, folder: string, options: LaneServerOptions = {}): Promise<SendingSide> {
    return new SendingSide(medium, await listen({ ...placeOf(medium, folder), ...tlsOf(medium) }), options)
  }

  /** Where and how to dial it. */
  get address(): Address {
    const { host, port, path: socketPath } = this.listener
    const { kind, stripes } = this.medium
    return {
      kind,
      stripes,
      ...tlsOf(this.medium),
      ...(socketPath === undefined ? { host, port } : { path: socketPath }),
    }
  }

  dial(sink: LaneSink, change: Partial<DialLaneOptions & Stripes> = {}): Promise<LaneReader> {
    return dialStripedLane({ ...this.address, token, generation, rank: receiver, peer: sender, sink, ...change })
  }

  async lane(
    sink: LaneSink,
    change: Partial<DialLaneOptions> = {},
  ): Promise<{ reader: LaneReader; writer: LaneWriter }> {
    const reader = await this.dial(sink, change)
    return { reader, writer: await this.writer(change.rank) }
  }

  writer(peer = receiver, door = this.door, timeoutMs = 5_000): Promise<LaneWriter> {
    return stripedLane(door, peer, { timeoutMs }, { stripes: this.medium.stripes })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.listener.close()
  }
}

export function placeOf(medium: Medium, folder: string): { readonly path: string } | { readonly port: number } {
  return medium.overPath ? { path: path.join(folder, 's') } : { port: 0 }
}

/** Spread into options. */
const tlsOf = ({ tls: shown }: Medium): { readonly tls?: TlsIdentity } => (shown === undefined ? {} : { tls: shown })

export interface Fake extends AsyncDisposable {
  readonly address: Address
}

/** A TCP, TLS or Unix server of one's own making. */
export async function fakeServer(
  medium: Medium,
  folder: string,
  onSocket: (socket: net.Socket) => void,
): Promise<Fake> {
  const sockets = new Set<net.Socket>()
  const take = (socket: net.Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    onSocket(socket)
  }
  const server = medium.tls === undefined ? net.createServer(take) : tls.createServer(medium.tls, take)
  const place = placeOf(medium, folder)
  server.listen('path' in place ? { path: place.path } : { host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  const bound = server.address() as net.AddressInfo | string
  return {
    address: {
      kind: medium.kind,
      stripes: medium.stripes,
      ...tlsOf(medium),
      ...(typeof bound === 'string' ? { path: bound } : { host: '127.0.0.1', port: bound.port }),
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** What a listener that knows `secret` as the token answers to a request with these headers. */
function answerTo(headers: Readonly<Record<string, string | undefined>>, secret: string): string {
  const request = parseLaneRequest({ headers } as unknown as http.IncomingMessage) as LaneRequest
  return laneProof('answer', secret, request, parseLaneProof(headers)?.nonce ?? '')
}

/** The headers of a request as they come over a socket. */
function headersOf(head: string): Record<string, string> {
  const lines = head.split('\r\n').slice(1)
  return Object.fromEntries(lines.map(line => [line.split(':', 1)[0]?.toLowerCase(), line.split(': ')[1]?.trim()]))
}

/** A server that takes any lane and sends these bytes on it, whatever they are. */
export async function fakeLane(
  medium: Medium,
  folder: string,
  bytes: Uint8Array | string,
  secret = token,
): Promise<Fake> {
  if (medium.kind === 'raw') {
    return fakeServer(medium, folder, socket => {
      socket.once('data', (head: Buffer) => {
        const answer = answerTo(headersOf(head.toString('latin1')), secret)
        const lines = ['Connection: Upgrade', 'Upgrade: skein-lane/1', `${laneProofNames.answer}: ${answer}`]
        socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`)
        socket.write(bytes)
      })
    })
  }
  const port = medium.tls === undefined ? http.createServer() : https.createServer(medium.tls)
  const server = new WebSocketServer({ server: port })
  server.on('headers', (headers, request) =>
    headers.push(`${laneProofNames.answer}: ${answerTo(request.headers as Record<string, string>, secret)}`),
  )
  server.on('connection', ws => {
    ws.on('error', () => undefined)
    ws.send(bytes)
  })
  port.listen(0, '127.0.0.1')
  await once(port, 'listening')
  return {
    address: {
      kind: 'ws',
      stripes: medium.stripes,
      ...tlsOf(medium),
      host: '127.0.0.1',
      port: (port.address() as net.AddressInfo).port,
    },
    async [Symbol.asyncDispose]() {
      for (const ws of server.clients) ws.terminate()
      server.close()
      port.close()
      await once(port, 'close')
    },
  }
}

/** A network between dialer and `target` that cuts the stream into pieces of random length; of TLS it sees what travels. */
export async function choppingProxy(
  target: net.NetConnectOpts,
  medium: Medium,
  folder: string,
  random: Random,
): Promise<Fake> {
  const { tls: _, ...below } = medium
  const proxy = await fakeServer(below, folder, near => {
    const far = net.connect(target)
    far.on('error', () => near.destroy())
    near.on('close', () => far.destroy())
    near.pipe(far)
    far.on('data', chunk => {
      far.pause()
      const forward = (from: number) => {
        if (from === chunk.length) {
          far.resume()
          return
        }
        const to = Math.min(chunk.length, from + 1 + random.nextInt(random.nextInt(4) === 0 ? 50 : 20_000))
        near.write(chunk.subarray(from, to), () => setImmediate(forward, to))
      }
      forward(0)
    })
    far.on('end', () => near.end())
  })
  return { ...proxy, address: { ...proxy.address, ...tlsOf(medium) } }
}

export interface Peer extends Disposable {
  readonly child: ChildProcess
  /** Its first message. */
  readonly said: unknown
}

/** Another process that runs one end of a lane; see lane-peer.test.util.ts. */
export async function startPeer(role: 'send' | 'receive', address: object): Promise<Peer> {
  const script = path.join(import.meta.dirname, 'lane-peer.test.util.js')
  const child = fork(script, [role, JSON.stringify(address)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const [said] = (await once(child, 'message')) as [unknown]
  return { child, said, [Symbol.dispose]: () => void child.kill('SIGKILL') }
}

/** Lets the event loop turn so often that everything that can happen without help has happened. */
export async function manyTurns(turns = 300): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise(resolve => setImmediate(resolve))
}

/** Open sockets and servers of this process. */
export function openHandles(): number {
  return process.getActiveResourcesInfo().filter(name => /^(TCP|Pipe)/.test(name)).length
}
