import { CoreErrors, lanes16, SkeinError, within } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import {
  attachControl,
  attachLanes,
  dialControl,
  dialLane,
  type LaneKind,
  listen,
  TransportErrors,
} from '@skein/transport'
import { type FrameHeader, headerBytes, WireErrors } from '@skein/wire'
import { describe, expect, test } from 'vitest'
import { type ShapeProxyOptions, shapeProxy } from './shape-proxy.ts'

const seed = useTestSeed()
const payloadBytes = 100_000
const payload = Uint8Array.from({ length: payloadBytes }, (_, i) => (i * 31) & 0xff)
const identity = { token: 't', generation: 1, rank: 1, peer: 0 }

function headerOf(chunk: number): FrameHeader {
  const place = { generation: 1, opSeq: 0, fromRank: 0, algorithm: 0, tag: 0, flags: 0 }
  const sizes = { count: payloadBytes, payloadBytes, opElems: payloadBytes }
  return { kind: 'data', dtype: 'uint8', ...place, ...sizes, chunk, payloadChecksum: lanes16(payload).lo }
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof SkeinError ? error.code : `not typed: ${String(error)}`),
  )
}

/** The sending side of rank 0 behind a proxy, and how rank 1 dials it. */
async function behindProxy(kind: LaneKind, shape: Omit<ShapeProxyOptions, 'to' | 'seed'>) {
  const listener = await listen()
  const door = attachLanes(listener.server).open({ generation: 1, rank: 0, worldSize: 2, token: 't' })
  const proxy = await shapeProxy({ to: { port: listener.port }, seed, ...shape })
  const frames: Uint8Array[] = []
  const failures: string[] = []
  let place = new Uint8Array(0)
  const sink = {
    place: (header: FrameHeader) => (place = new Uint8Array(header.payloadBytes)),
    received: () => void frames.push(place),
    failed: (error: SkeinError) => void failures.push(error.code),
  }
  return {
    proxy,
    frames,
    failures,
    dial: (timeoutMs = 5_000) => dialLane({ host: proxy.host, port: proxy.port, kind, ...identity, sink, timeoutMs }),
    writer: () => door.lane(1, { timeoutMs: 5_000 }),
    async [Symbol.asyncDispose]() {
      await proxy.close()
      await listener.close()
    },
  }
}

/** Bytes of the answer to the upgrade, which come before the first frame. */
const answerBytes =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: skein-lane/1\r\nx-skein-answer: \r\n\r\n'
    .length +
  // HMAC-SHA256 in hex.
  64

describe.each<{ kind: LaneKind }>([{ kind: 'raw' }, { kind: 'ws' }])('a $kind lane over a bad link', ({ kind }) => {
  test('that is slow and far: everything arrives, in order', async () => {
    await using rig = await behindProxy(kind, { rateMbit: 200, delayMs: 5, jitterMs: 3 })
    const reader = await rig.dial()
    const writer = await rig.writer()
    await Promise.all(Array.from({ length: 5 }, (_, chunk) => writer.send(headerOf(chunk), payload)))
    writer.close()
    expect((await reader.closed).kind).toBe('closed-by-peer')
    expect(rig.frames.map(frame => Buffer.compare(frame, payload))).toEqual([0, 0, 0, 0, 0])
  })

  test('that is cut inside a frame: both ends know it as a reset, and the broken frame is not delivered', async () => {
    await using rig = await behindProxy(kind, { cutAt: 150_000 })
    const reader = await rig.dial()
    const writer = await rig.writer()
    const sends = [0, 1, 2].map(chunk => codeOf(writer.send(headerOf(chunk), payload)))
    expect(await reader.closed).toMatchObject({ kind: 'reset', code: TransportErrors.PEER_RESET.code })
    expect((await writer.closed).kind).toBe('reset')
    expect(await codeOf(writer.send(headerOf(3), payload))).toBe(TransportErrors.PEER_RESET.code)
    await Promise.all(sends)
    expect(rig.frames.length).toBeLessThan(2)
    expect(rig.failures).toEqual([])
  })

  test('that stalls: nothing breaks by itself, memory is bounded, and it goes on or is given up', async () => {
    await using rig = await behindProxy(kind, { stallAt: 150_000, maxHeldBytes: 50_000 })
    const reader = await rig.dial()
    const writer = await rig.writer()
    const sends = Array.from({ length: 4 }, (_, chunk) => writer.send(headerOf(chunk), payload))
    while (rig.frames.length < 1) await new Promise(resolve => setImmediate(resolve))
    const late = codeOf(within(reader.closed, { what: 'the frame', timeoutMs: 100 }))
    expect(await late).toBe(CoreErrors.TIMEOUT.code)
    expect(rig.frames).toHaveLength(1)
    expect(rig.proxy.heldBytes).toBeLessThan(50_000 + 65_536)
    rig.proxy.goOn()
    await Promise.all(sends)
    while (rig.frames.length < 4) await new Promise(resolve => setImmediate(resolve))
    rig.proxy.stall()
    reader.close()
    expect((await reader.closed).code).toBe(TransportErrors.CLOSED.code)
  })

  test('that stalls or is cut during the handshake: the dial ends in time with a typed error', async () => {
    await using silent = await behindProxy(kind, { stallAt: 20 })
    expect(await codeOf(silent.dial(100))).toBe(TransportErrors.HANDSHAKE_TIMEOUT.code)
    await using cut = await behindProxy(kind, { cutAt: 20 })
    expect(await codeOf(cut.dial())).toBe(TransportErrors.UNREACHABLE.code)
  })
})

describe('a raw lane whose bytes are altered', () => {
  test.each([0, 5, 17, 30, 47])('in byte %i of a header: refused, and nothing is placed', async at => {
    await using rig = await behindProxy('raw', { corruptAt: answerBytes + headerBytes + payloadBytes + at })
    const reader = await rig.dial()
    const writer = await rig.writer()
    const sends = [0, 1, 2].map(chunk => codeOf(writer.send(headerOf(chunk), payload)))
    const reason = await reader.closed
    expect(reason.kind).toBe('protocol-error')
    expect([WireErrors.FRAME_GARBAGE.code, WireErrors.FRAME_VERSION.code]).toContain(reason.code)
    expect(rig.failures).toEqual([reason.code])
    expect(rig.frames).toHaveLength(1)
    await Promise.all(sends)
  })

  test('in a payload: delivered, for the checksum of its header to find', async () => {
    await using rig = await behindProxy('raw', { corruptAt: answerBytes + headerBytes + 12_345 })
    await rig.dial()
    const writer = await rig.writer()
    await writer.send(headerOf(0), payload)
    while (rig.frames.length < 1) await new Promise(resolve => setImmediate(resolve))
    expect(lanes16(rig.frames[0] as Uint8Array).lo).not.toBe(headerOf(0).payloadChecksum)
  })

  test('in the answer to the handshake: a typed error, or a lane', async () => {
    for (let at = 0; at < answerBytes; at += 3) {
      await using rig = await behindProxy('raw', { corruptAt: at })
      const outcome = await codeOf(rig.dial(300))
      expect(outcome).toMatch(/^(resolved|SKEIN_TRANSPORT_\w+)$/)
    }
  })
})

test('a control link that stalls is lost by its heartbeat, on both sides', async () => {
  const listener = await listen()
  const heartbeat = { intervalMs: 20, deadAfterMs: 100 }
  const accepted = Promise.withResolvers<{ readonly closed: Promise<{ readonly kind: string }> }>()
  attachControl(listener.server, { token: 't', heartbeat, onLink: link => accepted.resolve(link) })
  await using proxy = await shapeProxy({ to: { port: listener.port }, seed })
  const link = await dialControl({ url: `http://127.0.0.1:${proxy.port}`, token: 't', heartbeat })
  const far = await accepted.promise
  proxy.stall()
  expect((await link.closed).kind).toBe('heartbeat-lost')
  expect((await far.closed).kind).toMatch(/heartbeat-lost|reset/)
  await listener.close()
})
