import { once } from 'node:events'
import { seededRandom, SkeinError } from '@skein/core'
import { temporaryFolder, useTestSeed } from '@skein/testkit'
import { WireErrors } from '@skein/wire'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { dialLane } from './dial-lane.ts'
import { TransportErrors } from './errors.ts'
import { newNonce } from './lane-proof.ts'
import { laneHeaders } from './lane-request.ts'
import type { LaneSink } from './lane.ts'
import { peerPayloadBytes } from './lane-peer.test.util.ts'
import {
  type Address,
  choppingProxy,
  fakeLane,
  fakeServer,
  generation,
  headerOf,
  headerToBytes,
  KeepingSink,
  manyTurns,
  media,
  openHandles,
  randomBytes,
  receiver,
  SendingSide,
  sender,
  startPeer,
  stripedMedia,
  token,
} from './lane-rig.test.util.ts'
import { dialStripedLane } from './dial-striped-lane.ts'

const seed = useTestSeed()
const MiB = 2 ** 20
const handlesAtStart = openHandles()
const who = { token, generation, rank: receiver, peer: sender }

/** The code with which a promise rejects. */
async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof SkeinError ? error.code : `not typed: ${String(error)}`),
  )
}

describe.each([...media, ...stripedMedia])('a lane: $name', medium => {
  let folder: ReturnType<typeof temporaryFolder>
  beforeEach(() => {
    folder = temporaryFolder('lane')
  })
  afterEach(() => folder[Symbol.dispose]())
  const open = () => SendingSide.open(medium, folder.path)

  const sizes = (random: ReturnType<typeof seededRandom>, count: number) =>
    Array.from({ length: count }, (_, i) => [0, 1, 48, 4095, 4096, 4097, MiB][i] ?? random.nextInt(MiB))

  test('frames of any size arrive whole and in order, many under way at once', async () => {
    await using side = await open()
    const sink = new KeepingSink()
    const { writer, reader } = await side.lane(sink)
    const random = seededRandom(seed, 1)
    const payloads = sizes(random, 30).map(size => randomBytes(random, size))
    await Promise.all(payloads.map((payload, chunk) => writer.send(headerOf(payload.byteLength, { chunk }), payload)))
    await sink.until(payloads.length)
    for (const [i, { header, payload }] of sink.frames.entries()) {
      expect(header).toEqual(headerOf(payload.byteLength, { chunk: i }))
      expect(Buffer.compare(payload, payloads[i] ?? new Uint8Array(0))).toBe(0)
    }
    expect(writer.bytesSent).toBe(payloads.reduce((sum, { byteLength }) => sum + 48 + byteLength, 0))
    expect([reader.peer, writer.peer]).toEqual([sender, receiver])
  })

  test('frames arrive whole through a network that cuts the stream anywhere, with waits in between', async () => {
    await using side = await open()
    const random = seededRandom(seed, 2)
    const { host = '', port = 0, path: socketPath } = side.address
    const target = socketPath === undefined ? { host, port } : { path: socketPath }
    using second = temporaryFolder('lane')
    await using proxy = await choppingProxy(target, medium, second.path, random)
    const sink = new KeepingSink()
    const place = sink.place.bind(sink)
    sink.place = header => {
      sink.isOpen = random.nextInt(3) > 0
      if (!sink.isOpen) setImmediate(() => reader.resume())
      return place(header)
    }
    const { writer, reader } = await side.lane(sink, proxy.address)
    const payloads = sizes(random, 12).map(size => randomBytes(random, size))
    await Promise.all(payloads.map((payload, chunk) => writer.send(headerOf(payload.byteLength, { chunk }), payload)))
    await sink.until(payloads.length)
    for (const [i, { payload }] of sink.frames.entries()) {
      expect(Buffer.compare(payload, payloads[i] ?? new Uint8Array(0)), `frame ${i}`).toBe(0)
    }
  })

  test('payloads go from one shared memory to another', async () => {
    await using side = await open()
    const from = new Float32Array(new SharedArrayBuffer(MiB))
    const to = new Uint8Array(new SharedArrayBuffer(MiB))
    for (let i = 0; i < from.length; i++) from[i] = i
    const sink = new KeepingSink()
    sink.place = header => to.subarray(64, 64 + header.payloadBytes)
    const { writer } = await side.lane(sink)
    const header = headerOf(800_000, { dtype: 'float32', count: 200_000 })
    await writer.send(header, new Uint8Array(from.buffer, 4, 800_000))
    await sink.until(1)
    const received = new Float32Array(to.buffer, 64, 200_000)
    expect(received.every((value, i) => value === i + 1)).toBe(true)
    expect(to.subarray(0, 64).every(byte => byte === 0)).toBe(true)
  })

  test('a sink that waits stops the sender, and memory does not grow', async () => {
    await using side = await open()
    const sink = new KeepingSink()
    sink.isOpen = false
    const { writer, reader } = await side.lane(sink)
    const payload = new Uint8Array(MiB)
    const before = process.memoryUsage().arrayBuffers
    let flushed = 0
    const sends = Array.from({ length: 64 }, async (_, chunk) => {
      await writer.send(headerOf(MiB, { chunk }), payload)
      flushed++
    })
    await sink.waiting.promise
    await manyTurns()
    expect(flushed).toBeLessThan(48)
    expect(sink.frames).toHaveLength(0)
    // A stripe whose turn it is not reads one of these frames ahead.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan((2 + 2 * medium.stripes) * MiB)
    const place = new Uint8Array(MiB)
    sink.place = () => place
    reader.resume()
    await Promise.all(sends)
    await sink.until(64)
    expect(sink.frames.map(({ header }) => header.chunk)).toEqual(Array.from({ length: 64 }, (_, i) => i))
  })

  test('resume is harmless at any time, also from within the sink', async () => {
    await using side = await open()
    const sink = new KeepingSink()
    const place = sink.place.bind(sink)
    let asked = 0
    sink.place = header => {
      reader.resume()
      sink.isOpen = ++asked % 2 === 0
      return place(header)
    }
    const received = sink.received.bind(sink)
    sink.received = header => {
      received(header)
      reader.resume()
    }
    const { writer, reader } = await side.lane(sink)
    reader.resume()
    for (let chunk = 0; chunk < 20; chunk++) await writer.send(headerOf(5, { chunk }), new Uint8Array(5))
    await sink.until(20)
    reader.close()
    reader.resume()
    expect(sink.frames.map(({ header }) => header.chunk)).toEqual(Array.from({ length: 20 }, (_, i) => i))
  })

  test('close by the sender is the end for both, each with its reason; closing again changes nothing', async () => {
    await using side = await open()
    const sink = new KeepingSink()
    const { writer, reader } = await side.lane(sink)
    await writer.send(headerOf(3), new Uint8Array(3))
    writer.close()
    writer.close()
    expect((await writer.closed).kind).toBe('closed-by-us')
    expect(await reader.closed).toMatchObject({ kind: 'closed-by-peer', code: TransportErrors.PEER_CLOSED.code })
    reader.close()
    expect((await reader.closed).kind).toBe('closed-by-peer')
    expect(sink.frames).toHaveLength(1)
    expect(sink.failures).toEqual([])
    expect(await codeOf(writer.send(headerOf(0), new Uint8Array(0)))).toBe(TransportErrors.CLOSED.code)
  })

  test('close by the receiver is the end for both, each with its reason', async () => {
    await using side = await open()
    const { writer, reader } = await side.lane(new KeepingSink())
    reader.close()
    reader.close()
    expect((await reader.closed).kind).toBe('closed-by-us')
    expect((await writer.closed).kind).toBe('closed-by-peer')
    expect(await codeOf(writer.send(headerOf(0), new Uint8Array(0)))).toBe(TransportErrors.PEER_CLOSED.code)
  })

  test('a sender that tries again and again learns that its lane has ended', async () => {
    await using side = await open()
    const sink = new KeepingSink()
    const { writer, reader } = await side.lane(sink)
    let reason: string | undefined
    void writer.closed.then(({ code }) => {
      reason = code
    })
    const codes = new Set<string>()
    const payload = new Uint8Array(64 * 1024)
    const trying = Array.from({ length: 8 }, async () => {
      while (reason === undefined) codes.add(await codeOf(writer.send(headerOf(payload.byteLength), payload)))
    })
    await sink.until(10)
    reader.close()
    await Promise.all(trying)
    codes.delete('resolved')
    expect([...codes].every(code => code === reason)).toBe(true)
  })

  test('a sender that closes under way rejects what is not flushed, and the receiver sees a broken lane', async () => {
    await using side = await open()
    const sink = new KeepingSink()
    sink.isOpen = false
    const { writer, reader } = await side.lane(sink)
    const send = writer.send(headerOf(48 * MiB), new Uint8Array(48 * MiB))
    await sink.waiting.promise
    writer.close()
    expect(await codeOf(send)).toBe(TransportErrors.CLOSED.code)
    sink.isOpen = true
    reader.resume()
    expect(await reader.closed).toMatchObject({ kind: 'reset', code: TransportErrors.PEER_RESET.code })
    expect(sink.frames).toHaveLength(0)
  })

  test('a receiver that closes from within its sink is not called again', async () => {
    await using side = await open()
    const sink = new KeepingSink()
    const received = sink.received.bind(sink)
    sink.received = header => {
      received(header)
      reader.close()
    }
    const { writer, reader } = await side.lane(sink)
    const sends = Array.from({ length: 5 }, () => codeOf(writer.send(headerOf(9), new Uint8Array(9))))
    expect((await reader.closed).kind).toBe('closed-by-us')
    await Promise.all(sends)
    await writer.closed
    expect(sink.frames).toHaveLength(1)
    expect(sink.failures).toEqual([])
  })

  test('a sender that is killed in the middle of a payload is seen as reset', async () => {
    using peer = await startPeer('send', { medium, folder: folder.path })
    const sink = new KeepingSink()
    sink.isOpen = false
    const reader = await dialStripedLane({ ...(peer.said as Address), ...who, sink })
    expect((await sink.waiting.promise).payloadBytes).toBe(peerPayloadBytes)
    peer.child.kill('SIGKILL')
    await once(peer.child, 'exit')
    sink.isOpen = true
    reader.resume()
    expect(await reader.closed).toMatchObject({ kind: 'reset', code: TransportErrors.PEER_RESET.code })
    expect(sink.frames).toHaveLength(0)
    expect(sink.failures).toEqual([])
  })

  test('a receiver that is killed rejects the send under way', async () => {
    await using side = await open()
    using peer = await startPeer('receive', side.address)
    const writer = await side.writer()
    const send = codeOf(writer.send(headerOf(48 * MiB), new Uint8Array(48 * MiB)))
    await manyTurns(50)
    peer.child.kill('SIGKILL')
    expect(await send).toBe(TransportErrors.PEER_RESET.code)
    expect((await writer.closed).kind).toBe('reset')
  })

  test.each([
    ['garbage', new Uint8Array(48).fill(0x55), WireErrors.FRAME_GARBAGE.code],
    ['another generation', headerToBytes(headerOf(8, { generation: 6 })), WireErrors.FRAME_GENERATION.code],
    ['another sender', headerToBytes(headerOf(8, { fromRank: 3 })), WireErrors.FRAME_SENDER.code],
    ['a payload over the limit', headerToBytes(headerOf(1001)), WireErrors.FRAME_TOO_LARGE.code],
  ])('a header that is %s closes the lane with its code, and nothing is placed', async (_, bytes, code) => {
    await using fake = await fakeLane(medium, folder.path, bytes)
    const sink = new KeepingSink()
    const reader = await dialStripedLane({ ...fake.address, ...who, sink, maxPayloadBytes: 1000 })
    expect(await reader.closed).toMatchObject({ kind: 'protocol-error', code })
    expect(sink.failures.map(error => error.code)).toEqual([code])
    expect(sink.frames).toHaveLength(0)
  })

  test('a sink that throws, or gives a place of another size, closes the lane with a typed error', async () => {
    await using side = await open()
    const thrower = new KeepingSink()
    thrower.received = () => {
      throw new TypeError('a defect')
    }
    const first = await side.lane(thrower)
    const wrong = new KeepingSink()
    wrong.place = () => new Uint8Array(3)
    const second = await side.lane(wrong, { rank: 2 })
    await Promise.all([first, second].map(({ writer }) => codeOf(writer.send(headerOf(4), new Uint8Array(4)))))
    expect(await first.reader.closed).toMatchObject({
      kind: 'protocol-error',
      code: 'SKEIN_INTERNAL',
      what: 'a defect',
    })
    expect((await second.reader.closed).code).toBe(TransportErrors.BAD_DESTINATION.code)
    expect(wrong.failures.map(error => error.code)).toEqual([TransportErrors.BAD_DESTINATION.code])
    await Promise.all([first.writer.closed, second.writer.closed])
  })

  test('a payload of another size than its header says is refused at once, and the lane goes on', async () => {
    await using side = await open()
    const sink = new KeepingSink()
    const { writer } = await side.lane(sink)
    expect(() => writer.send(headerOf(4), new Uint8Array(5))).toThrow(/5 B under a header that says 4 B/)
    expect(() => writer.send(headerOf(4, { fromRank: -1 }), new Uint8Array(4))).toThrow(/fromRank is -1/)
    await writer.send(headerOf(4), new Uint8Array(4))
    await sink.until(1)
  })

  const sink: LaneSink = new KeepingSink()
  test('a dialer is refused with its reason: token, generation, rank, a second lane', async () => {
    await using side = await open()
    expect(await codeOf(side.dial(sink, { token: 'wrong' }))).toBe(TransportErrors.UNAUTHORIZED.code)
    expect(await codeOf(side.dial(sink, { token: '' }))).toBe(TransportErrors.UNAUTHORIZED.code)
    await expect(side.dial(sink, { generation: 6 })).rejects.toThrow(/generation 6 is over/)
    await expect(side.dial(sink, { peer: 3 })).rejects.toThrow(/this is rank 0, not 3/)
    await expect(side.dial(sink, { rank: 9 })).rejects.toThrow(/rank 9 is no peer/)
    await side.dial(sink)
    expect(await codeOf(side.dial(sink))).toBe(TransportErrors.REFUSED.code)
    side.door.close()
    await expect(side.dial(sink, { rank: 2 })).rejects.toThrow(/generation 7 is over/)
    expect(await codeOf(side.writer(3))).toBe(TransportErrors.CLOSED.code)
  })

  test('a dialer that is early is held until its generation begins here', async () => {
    await using side = await open()
    const early = side.dial(new KeepingSink(), { generation: 8, token: 'next' })
    const late = codeOf(side.dial(new KeepingSink(), { generation: 8, token: 'wrong', rank: 2 }))
    await manyTurns(50)
    const door = side.lanes.open({ generation: 8, rank: sender, worldSize: 4, token: 'next' })
    expect((await early).peer).toBe(sender)
    expect(await late).toBe(TransportErrors.UNAUTHORIZED.code)
    expect((await side.writer(receiver, door)).peer).toBe(receiver)
  })

  test('a dialer is held for a bounded time, and only so many of them', async () => {
    await using side = await SendingSide.open(medium, folder.path, { holdMs: 60, maxHeld: 1 })
    const codes = await Promise.all([1, 2, 3].map(rank => codeOf(side.dial(sink, { generation: 9, rank }))))
    expect(codes).toEqual(Array(3).fill(TransportErrors.BUSY.code))
  })

  test('a peer that is not there, hangs, hangs up or speaks something else is a typed error in bounded time', async () => {
    const side = await open()
    const gone = side.address
    await side.listener.close()
    const dial = (address: Address, signal?: AbortSignal) =>
      codeOf(dialStripedLane({ ...address, ...who, sink, timeoutMs: 200, ...(signal === undefined ? {} : { signal }) }))
    expect(await dial(gone)).toBe(TransportErrors.UNREACHABLE.code)

    const greetings = [
      'SSH-2.0-OpenSSH_9.2\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
      'HTTP/1.1 101 \r\n\r\n',
    ]
    for (const greeting of [...greetings, 'HTTP/1.1 101 Switching\r\nX: '.padEnd(20_000, 'x')]) {
      await using other = await fakeServer(medium, folder.path, socket =>
        socket.once('data', () => socket.write(greeting)),
      )
      expect(await dial(other.address), greeting.slice(0, 30)).toBe(TransportErrors.HANDSHAKE_INVALID.code)
    }
    {
      await using rude = await fakeServer(medium, folder.path, socket => socket.destroy())
      expect([TransportErrors.UNREACHABLE.code, TransportErrors.HANDSHAKE_INVALID.code]).toContain(
        await dial(rude.address),
      )
    }
    await using silent = await fakeServer(medium, folder.path, () => undefined)
    expect(await dial(silent.address)).toBe(TransportErrors.HANDSHAKE_TIMEOUT.code)
    const abort = new AbortController()
    const dialling = dial(silent.address, abort.signal)
    abort.abort()
    expect(await dialling).toBe('SKEIN_ABORTED')
    expect(await dial(silent.address, abort.signal)).toBe('SKEIN_ABORTED')
  })

  test('nothing is left open when all is closed, here and in all tests above', async () => {
    for (let round = 0; round < 5; round++) {
      const side = await open()
      const kept = new KeepingSink()
      const { writer, reader } = await side.lane(kept)
      await writer.send(headerOf(10), new Uint8Array(10))
      await codeOf(side.dial(kept, { token: 'wrong' }))
      const held = codeOf(side.dial(kept, { generation: 99 }))
      await manyTurns(20)
      await Promise.all([side.listener.close(), side.listener.close()])
      await Promise.all([held, reader.closed, writer.closed])
    }
    await vi.waitUntil(() => openHandles() <= handlesAtStart, { timeout: 10_000 })
  })
})

/** What a dialer writes. */
function rawLaneRequest(nonce = newNonce()): string {
  const headers = laneHeaders(
    { kind: 'raw', generation, group: 0, channel: 0, from: receiver, to: sender },
    token,
    nonce,
  )
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return `GET /lane HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: skein-lane/1\r\n${lines.join('')}\r\n`
}

test('a lane that is dialled for sending what it should receive is a protocol error at the sender', async () => {
  using folder = temporaryFolder('lane')
  for (const medium of media.filter(({ kind, tls }) => kind === 'raw' && tls === undefined)) {
    await using side = await SendingSide.open(medium, folder.path)
    const { host = '', port = 0, path: socketPath } = side.address
    const net = await import('node:net')
    const socket = net.connect(socketPath === undefined ? { host, port } : { path: socketPath })
    socket.write(rawLaneRequest())
    const writer = await side.door.lane(receiver, { timeoutMs: 5_000 })
    socket.write('and now my part')
    expect(await writer.closed).toMatchObject({ kind: 'protocol-error', code: TransportErrors.UNEXPECTED_DATA.code })
    socket.destroy()
  }
})

describe('who has read a dial on the way', () => {
  /** The status that the listener answers with. */
  const statusOf = async (port: number, request: string): Promise<string> => {
    const net = await import('node:net')
    const socket = net.connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(request)
    const [answer] = (await once(socket, 'data')) as [Buffer]
    socket.destroy()
    return answer.toString('latin1').slice('HTTP/1.1 '.length, 12)
  }
  const openTcp = () => SendingSide.open(media[0] as (typeof media)[number], '')

  test('can use it for nothing: not again, not for another lane, not with another number, not in the next generation', async () => {
    await using side = await openTcp()
    const port = side.listener.port
    const request = rawLaneRequest()
    expect(request).not.toContain(token)
    const changed = request.replace(/x-skein-channel: 0/, 'x-skein-channel: 1')
    expect(await statusOf(port, changed)).toBe('401')
    expect(await statusOf(port, request.replace(/x-skein-nonce: ./, 'x-skein-nonce: '))).toBe('401')
    expect(await statusOf(port, request)).toBe('101')
    expect(await statusOf(port, request)).toBe('401')
    expect(side.listener.refused()).toEqual({ badToken: 1, noToken: 1, replayed: 1 })

    const next = generation + 1
    side.lanes.open({ generation: next, rank: sender, worldSize: 4, token: 'next' })
    side.door.close()
    expect(await statusOf(port, rawLaneRequest())).toBe('409')
    expect(await statusOf(port, request.replace(`generation: ${generation}`, `generation: ${next}`))).toBe('401')
  })

  test('cannot answer in the place of the listener: a dialer believes only who knows the token', async () => {
    for (const medium of media.filter(({ overPath }) => !overPath)) {
      await using fake = await fakeLane(medium, '', headerToBytes(headerOf(0)), 'another token')
      const sink = new KeepingSink()
      const dial = dialLane({ ...fake.address, ...who, sink })
      expect(await codeOf(dial), medium.name).toBe(TransportErrors.UNAUTHORIZED.code)
      expect(sink.frames).toEqual([])
    }
  })
})

test('a WebSocket message over the size of a piece, or text, is a protocol error at the receiver', async () => {
  const [, , medium] = media
  if (medium === undefined) throw new Error('there are media')
  for (const bytes of [new Uint8Array(300_000), 'text']) {
    await using fake = await fakeLane(medium, '', bytes)
    const sink = new KeepingSink()
    const reader = await dialLane({ ...fake.address, ...who, sink })
    expect(await reader.closed).toMatchObject({ kind: 'protocol-error', code: TransportErrors.UNEXPECTED_DATA.code })
    expect(sink.failures).toHaveLength(1)
  }
})

test('a WebSocket lane over a path is refused at once', async () => {
  const dial = dialLane({ ...who, kind: 'ws', path: '/nowhere', sink: new KeepingSink() })
  expect(await codeOf(dial)).toBe(TransportErrors.BAD_ADDRESS.code)
})

test('requests that are no lanes are answered over HTTP', async () => {
  using folder = temporaryFolder('lane')
  const [medium] = media
  if (medium === undefined) throw new Error('there are media')
  await using side = await SendingSide.open(medium, folder.path)
  const url = `http://127.0.0.1:${side.listener.port}`
  expect((await fetch(`${url}/lane`)).status).toBe(426)
  const http = await import('node:http')
  const upgrade = async (path: string, protocol: string) => {
    const request = http.request(`${url}${path}`, { headers: { connection: 'Upgrade', upgrade: protocol } })
    request.end()
    const [response] = (await once(request, 'response')) as [import('node:http').IncomingMessage]
    response.resume()
    return response.statusCode
  }
  expect(await upgrade('/lane', 'skein-lane/1')).toBe(400)
  expect(await upgrade('/lane', 'h2c')).toBe(426)
  expect(await upgrade('/elsewhere', 'websocket')).toBe(404)
})
