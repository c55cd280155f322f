import { seededRandom } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import { headerBytes } from '@skein/wire'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FrameReader, readAheadBytes } from './frame-reader.ts'
import { generation, headerOf, headerToBytes, KeepingSink, randomBytes, sender } from './lane-rig.test.util.ts'

const seed = useTestSeed()
const limits = { maxPayloadBytes: 100_000, generation, fromRank: sender }

const streams = fc.record({
  sizes: fc.array(
    fc.oneof(fc.nat(200), fc.nat(20_000), fc.constantFrom(0, readAheadBytes, readAheadBytes - headerBytes)),
    {
      maxLength: 12,
    },
  ),
  cuts: fc.infiniteStream(fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 9_000 }))),
  waits: fc.infiniteStream(fc.boolean()),
})

function streamOf(sizes: readonly number[]): { bytes: Uint8Array; payloads: Uint8Array[] } {
  const payloads = sizes.map((size, i) => randomBytes(seededRandom(seed, i), size))
  const parts = payloads.flatMap((payload, chunk) => [headerToBytes(headerOf(payload.byteLength, { chunk })), payload])
  return { bytes: Buffer.concat(parts), payloads }
}

/** A sink that waits now and then; `resume` must be called for it to go on. */
function moodySink(waits: Iterator<boolean>): KeepingSink {
  const sink = new KeepingSink()
  const place = sink.place.bind(sink)
  sink.place = header => {
    sink.isOpen = waits.next().value !== true
    return place(header)
  }
  return sink
}

function expectAll(sink: KeepingSink, reader: FrameReader, payloads: readonly Uint8Array[]): void {
  expect(sink.frames.map(({ header }) => header.chunk)).toEqual(payloads.map((_, i) => i))
  for (const [i, payload] of payloads.entries())
    expect(Buffer.compare(sink.frames[i]?.payload ?? payload.subarray(1), payload)).toBe(0)
  expect(reader.isMidFrame).toBe(false)
}

test('frames fed in any portions arrive whole and in order, whatever waits', () => {
  fc.assert(
    fc.property(streams, ({ sizes, cuts, waits }) => {
      const { bytes, payloads } = streamOf(sizes)
      const sink = moodySink(waits)
      const reader = new FrameReader(sink, limits, error => expect.fail(error.message))
      for (let at = 0; at < bytes.length; ) {
        const cut = cuts.next().value
        reader.feed(bytes.subarray(at, at + cut)) // also while it waits, as a WebSocket may
        at += cut
        if (cut % 3 === 0) reader.resume()
      }
      while (!reader.wantsBytes) reader.resume()
      expectAll(sink, reader, payloads)
    }),
  )
})

test('frames read into the given memory in any portions arrive whole and in order, whatever waits', () => {
  fc.assert(
    fc.property(streams, ({ sizes, cuts, waits }) => {
      const { bytes, payloads } = streamOf(sizes)
      const sink = moodySink(waits)
      const reader = new FrameReader(sink, limits, error => expect.fail(error.message))
      // As libuv does: the memory for the next read is asked for right after the last one, even if the reading pauses then.
      let target = reader.buffer()
      for (let at = 0; at < bytes.length; ) {
        while (!reader.wantsBytes) reader.resume()
        const count = Math.min(cuts.next().value, target.byteLength, bytes.length - at)
        target.set(bytes.subarray(at, at + count))
        at += count
        reader.filled(target, count)
        target = reader.buffer()
      }
      while (!reader.wantsBytes) reader.resume()
      expectAll(sink, reader, payloads)
    }),
  )
})

test('bytes that still come while a frame waits, as the rest of a TLS record does, are kept in order', () => {
  fc.assert(
    fc.property(streams, ({ sizes, cuts, waits }) => {
      const { bytes, payloads } = streamOf(sizes)
      const sink = moodySink(waits)
      const reader = new FrameReader(sink, limits, error => expect.fail(error.message))
      let target = reader.buffer()
      for (let at = 0; at < bytes.length; ) {
        const cut = cuts.next().value
        const count = Math.min(cut, target.byteLength, bytes.length - at)
        expect(count).toBeGreaterThan(0)
        target.set(bytes.subarray(at, at + count))
        at += count
        reader.filled(target, count)
        if (cut % 3 === 0) reader.resume()
        target = reader.buffer()
      }
      while (!reader.wantsBytes) reader.resume()
      expectAll(sink, reader, payloads)
    }),
  )
})

test('a sink that waits is asked again only after resume', () => {
  const { bytes } = streamOf([10, 10])
  const sink = new KeepingSink()
  let asked = 0
  sink.place = () => {
    asked++
    return 'wait'
  }
  const reader = new FrameReader(sink, limits, error => expect.fail(error.message))
  for (const byte of bytes) reader.feed(Uint8Array.of(byte))
  expect(asked).toBe(1)
  expect(reader.resume()).toBe(false)
  expect(asked).toBe(2)
})

test('after a bad header nothing is placed, whatever follows', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: headerBytes, maxLength: 2_000 }), garbage => {
      const sink = new KeepingSink()
      const codes: string[] = []
      const reader = new FrameReader(sink, limits, error => codes.push(error.code))
      reader.feed(garbage)
      reader.feed(streamOf([5]).bytes)
      expect(codes).toHaveLength(1)
      expect(sink.frames).toHaveLength(0)
      expect(reader.wantsBytes).toBe(false)
    }),
  )
})
