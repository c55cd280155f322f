import { encodeHeader, type FrameHeader, headerBytes } from '@skein/wire'
import { expect, test } from 'vitest'
import { type FrameHit, type FramePlace, FrameWatch } from './frame-watch.ts'

const head = Buffer.from('HTTP/1.1 101 Switching Protocols\r\nUpgrade: skein-lane/1\r\n\r\n')
const payloadBytes = 10

function frame(generation: number, opSeq: number, chunk: number): Buffer {
  const place = { generation, opSeq, fromRank: 0, algorithm: 1, chunk, tag: 0, flags: 0 }
  const sizes = { count: payloadBytes, payloadBytes, opElems: payloadBytes }
  const header: FrameHeader = { kind: 'data', dtype: 'uint8', ...place, ...sizes, payloadChecksum: 7 }
  const bytes = Buffer.alloc(headerBytes + payloadBytes, 0x55)
  encodeHeader(new DataView(bytes.buffer, bytes.byteOffset), 0, header)
  return bytes
}

const frameBytes = headerBytes + payloadBytes
const stream = (...frames: Buffer[]) => Buffer.concat([head, ...frames])

/** Sends `bytes` through the tap in portions; returns what came out, and where the connection was stopped. */
function pass(watch: FrameWatch, bytes: Buffer, portion: number) {
  const tap = watch.tap()
  const stops: number[] = []
  const pipe = { stall: (at: number) => void stops.push(at) } as unknown as Parameters<typeof tap>[2]
  const out = Buffer.from(bytes)
  for (let at = 0; at < out.length; at += portion) tap(out.subarray(at, at + portion), at, pipe)
  return { out, stops }
}

function placed(watch: FrameWatch, place: FramePlace, act: (hit: FrameHit) => void = () => undefined) {
  const hits: string[] = []
  watch.arm(place, hit => {
    hits.push(`${hit.header.generation}/${hit.header.opSeq}/${hit.header.chunk}`)
    act(hit)
  })
  return hits
}

test.each([1, 7, 48, 1_000])(
  'frames are found in portions of %i bytes, and one bit of the one asked for is flipped',
  portion => {
    const watch = new FrameWatch()
    const hits = placed(watch, { op: 1, chunk: 1 }, hit => hit.corrupt())
    const bytes = stream(frame(1, 0, 0), frame(1, 0, 1), frame(1, 1, 0), frame(1, 1, 1), frame(1, 1, 2))
    const { out } = pass(watch, bytes, portion)
    expect(hits).toEqual(['1/1/1'])
    const changed = [...out.keys()].filter(i => out[i] !== bytes[i])
    expect(changed).toEqual([head.length + 3 * frameBytes + headerBytes])
    expect((out[changed[0] ?? 0] ?? 0) ^ (bytes[changed[0] ?? 0] ?? 0)).toBe(1)
  },
)

test('collectives count from when the place was asked for, and from the first one in a later generation', () => {
  const watch = new FrameWatch()
  pass(watch, stream(frame(1, 0, 0), frame(1, 1, 0)), 1_000)
  const next = placed(watch, { op: 0 })
  const any = placed(watch, {})
  pass(watch, stream(frame(1, 1, 1), frame(1, 2, 0)), 1_000)
  expect(next).toEqual(['1/2/0'])
  expect(any).toEqual(['1/2/0'])
  const later = placed(watch, { op: 0 })
  pass(watch, stream(frame(2, 0, 0)), 1_000)
  expect(later).toEqual(['2/0/0'])
})

test('a connection is stopped in front of the frame', () => {
  const watch = new FrameWatch()
  placed(watch, { op: 1 }, hit => hit.stop())
  const { stops } = pass(watch, stream(frame(1, 0, 0), frame(1, 1, 0)), 13)
  expect(stops).toEqual([head.length + frameBytes])
})

test('requests, other protocols and disarmed places are left alone', () => {
  const watch = new FrameWatch()
  const hits: string[] = []
  watch.arm({}, ({ header }) => hits.push(String(header.opSeq)))()
  const armed = placed(watch, {})
  const request = Buffer.concat([Buffer.from('GET /lane HTTP/1.1\r\n\r\n'), frame(1, 0, 0)])
  expect(pass(watch, request, 9).out).toEqual(request)
  expect(armed).toEqual([])
  pass(watch, stream(frame(1, 0, 0)), 9)
  expect(hits).toEqual([])
  expect(armed).toEqual(['1/0/0'])
})
