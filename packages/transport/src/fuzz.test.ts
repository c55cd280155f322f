import { type Random, seededRandom, SkeinError } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import { encodeHeader, type FrameHeader, headerBytes } from '@skein/wire'
import { expect, test } from 'vitest'
import { FrameReader } from './frame-reader.ts'
import type { LaneSink } from './lane.ts'
import { parseResponseHead } from './response-head.ts'

const seed = useTestSeed()

/** 200,000 by default; SKEIN_FUZZ_RUNS multiplies. */
const runs = 200_000 * Number(process.env['SKEIN_FUZZ_RUNS'] ?? 1)
const limits = { maxPayloadBytes: 2048, generation: 7, fromRank: 3 }

function frameBytes(random: Random): Uint8Array {
  // Now and then one that is longer than the reader takes.
  const count = random.nextInt(50) === 0 ? 600 : random.nextInt(4) === 0 ? 0 : random.nextInt(40)
  const bytes = new Uint8Array(headerBytes + count * 4)
  const header: FrameHeader = {
    kind: 'data',
    dtype: 'float32',
    flags: 0,
    generation: 7,
    opSeq: random.nextInt(1000),
    fromRank: 3,
    algorithm: 0x101,
    chunk: random.nextInt(50),
    count,
    payloadBytes: count * 4,
    opElems: 1000,
    tag: 0,
    payloadChecksum: 0,
  }
  encodeHeader(new DataView(bytes.buffer), 0, header)
  for (let i = headerBytes; i < bytes.length; i++) bytes[i] = random.nextInt(256)
  return bytes
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** A stream of valid frames with up to three things wrong: bits, bytes that are missing, doubled or made up, a rewritten length. */
function mutatedStream(random: Random): Uint8Array {
  let bytes = concat(Array.from({ length: 1 + random.nextInt(3) }, () => frameBytes(random)))
  for (let mutation = random.nextInt(4); mutation > 0; mutation--) {
    const at = random.nextInt(bytes.length)
    const length = random.nextInt(1 + Math.min(64, bytes.length - at))
    const cut = [bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at + length)] as const
    switch (random.nextInt(6)) {
      case 0:
        bytes[at] = (bytes[at] as number) ^ (1 << random.nextInt(8))
        break
      case 1:
        bytes = concat([cut[0], cut[2]])
        break
      case 2:
        bytes = concat([cut[0], cut[1], cut[1], cut[2]])
        break
      case 3:
        bytes = concat([cut[0], Uint8Array.from({ length }, () => random.nextInt(256)), cut[2]])
        break
      case 4:
        // A count or a length that is something else.
        if (bytes.length >= headerBytes)
          new DataView(bytes.buffer).setUint32(24 + 4 * random.nextInt(3), random.nextInt(2 ** 31), true)
        break
      default:
        bytes = bytes.slice(0, at)
    }
    if (bytes.length === 0) return bytes
  }
  return bytes
}

test(`a reader of frames takes ${runs} mutated streams in any portions: a frame, a typed error, or more bytes wanted`, () => {
  let [frames, failures] = [0, 0]
  for (let run = 0; run < runs; run++) {
    const random = seededRandom(seed, run)
    const stream = mutatedStream(random)
    let given = 0
    let isOver = false
    let waiting = false
    const sink: LaneSink = {
      place(header) {
        if (isOver) throw new Error('placed after the end')
        if (header.payloadBytes > limits.maxPayloadBytes) throw new Error('a payload over the limit')
        if (random.nextInt(8) === 0) {
          waiting = true
          return 'wait'
        }
        given += header.payloadBytes
        return new Uint8Array(header.payloadBytes)
      },
      received() {
        if (isOver) throw new Error('received after the end')
        frames++
      },
      failed: () => undefined,
    }
    const reader = new FrameReader(sink, limits, error => {
      if (isOver || !(error instanceof SkeinError)) throw new Error('failed twice, or with no typed error')
      isOver = true
      failures++
    })
    for (let at = 0; at < stream.length && !isOver; ) {
      while (waiting && !isOver) {
        waiting = false
        reader.resume()
      }
      const portion = stream.subarray(at, at + 1 + random.nextInt(stream.length))
      const target = reader.buffer()
      if (random.nextInt(2) === 0 && target.length > 0 && reader.wantsBytes) {
        // As a socket does that reads into the memory it is given.
        const length = Math.min(target.length, portion.length)
        target.set(portion.subarray(0, length))
        reader.filled(target, length)
        at += length
      } else {
        reader.feed(portion.slice())
        at += portion.length
      }
    }
    for (let turn = 0; waiting && !isOver; turn++) {
      if (turn > 1000) throw new Error('a reader that waits for ever')
      waiting = false
      reader.resume()
    }
    // What a reader asks for is bounded by what has come, but for the last frame.
    if (given > stream.length + limits.maxPayloadBytes) throw new Error(`${given} B were asked for ${stream.length} B`)
  }
  // Most streams hold a whole frame, many a broken one: else this would test nothing.
  expect(frames).toBeGreaterThan(runs / 2)
  expect(failures).toBeGreaterThan(runs / 10)
}, 120_000)

test('the head of a response is parsed, incomplete or garbage, whatever comes', () => {
  const valid = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: skein-lane/1\r\n\r\nrest'
  for (let run = 0; run < runs / 10; run++) {
    const random = seededRandom(seed, run, 1)
    const bytes = new TextEncoder().encode(valid)
    for (let mutation = random.nextInt(5); mutation > 0; mutation--)
      bytes[random.nextInt(bytes.length)] = random.nextInt(256)
    const head = parseResponseHead(bytes.subarray(0, random.nextInt(bytes.length + 1)))
    if (head === undefined || head === 'garbage') continue
    expect(head.headBytes).toBeLessThanOrEqual(bytes.length)
    expect(Number.isInteger(head.status)).toBe(true)
  }
})
