import { CoreErrors, seededRandom, SkeinError } from '@skein/core'
import { temporaryFolder, useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { dialLane } from './dial-lane.ts'
import { TransportErrors } from './errors.ts'
import {
  headerOf,
  KeepingSink,
  manyTurns,
  randomBytes,
  receiver,
  SendingSide,
  stripedMedia,
  token,
} from './lane-rig.test.util.ts'
import type { LaneWriter } from './lane.ts'
import { maxStripes, stripeChannels } from './stripe-channels.ts'
import { dialStripedLane } from './dial-striped-lane.ts'
import { stripedLane } from './striped-writer.ts'

// The suite of lane.test.ts runs on striped lanes, too; here is what only they can do.
const seed = useTestSeed()
const [, fourOverTcp] = stripedMedia
if (fourOverTcp === undefined) throw new Error('there are striped media')
const stripes = fourOverTcp.stripes

let folder: ReturnType<typeof temporaryFolder>
beforeEach(() => {
  folder = temporaryFolder('striped')
})
afterEach(() => folder[Symbol.dispose]())
const open = () => SendingSide.open(fourOverTcp, folder.path)

/** The lanes below a striped one, by stripe. */
const partsOf = (side: SendingSide): Promise<LaneWriter[]> =>
  Promise.all(stripeChannels({ stripes }).map(channel => side.door.lane(receiver, { timeoutMs: 5_000 }, channel)))

test('no two numbers of stripes share a channel, and one stripe is an ordinary lane', () => {
  const counts = Array.from({ length: maxStripes }, (_, i) => i + 1)
  const all = [0, 1, 2, 3].flatMap(channel => counts.flatMap(count => stripeChannels({ stripes: count, channel })))
  expect(new Set(all).size).toBe(all.length)
  expect(Math.max(...all)).toBeLessThan(256)
  expect([0, 1, 2, 3].map(channel => stripeChannels({ stripes: 1, channel }))).toEqual([[0], [1], [2], [3]])
  for (const wrong of [{ stripes: 0 }, { stripes: 11 }, { stripes: 1.5 }, { stripes: 2, channel: 4 }]) {
    expect(() => stripeChannels(wrong)).toThrow(SkeinError)
  }
})

test('frame k travels on lane k mod S, whatever its size', async () => {
  await using side = await open()
  const sink = new KeepingSink()
  const { writer } = await side.lane(sink)
  const sizes = [10, 0, 5_000, 300_000, 1, 2, 3, 70_000, 9]
  for (const [chunk, size] of sizes.entries()) await writer.send(headerOf(size, { chunk }), new Uint8Array(size))
  await sink.until(sizes.length)
  const wanted = Array.from({ length: stripes }, () => 0)
  for (const [k, size] of sizes.entries()) wanted[k % stripes] = (wanted[k % stripes] ?? 0) + 48 + size
  expect((await partsOf(side)).map(lane => lane.bytesSent)).toEqual(wanted)
  expect(writer.bytesSent).toBe(wanted.reduce((sum, bytes) => sum + bytes, 0))
})

test('whatever the sizes and the waits, what was flushed before the sender closed arrives, in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(60_000), { maxLength: 12 }), fc.nat(), async (sizes, salt) => {
      const random = seededRandom(seed, salt)
      await using side = await open()
      const sink = new KeepingSink()
      const place = sink.place.bind(sink)
      sink.place = header => {
        sink.isOpen = random.nextInt(3) > 0
        if (!sink.isOpen) setImmediate(() => reader.resume())
        return place(header)
      }
      const { writer, reader } = await side.lane(sink)
      const payloads = sizes.map(size => randomBytes(random, size))
      const sends = payloads.map((payload, chunk) => writer.send(headerOf(payload.length, { chunk }), payload))
      await Promise.all(sends)
      writer.close()
      expect((await reader.closed).kind).toBe('closed-by-peer')
      expect(sink.frames.map(({ header }) => header.chunk)).toEqual(payloads.map((_, chunk) => chunk))
      for (const [i, { payload }] of sink.frames.entries())
        expect(Buffer.compare(payload, payloads[i] ?? payload.subarray(1))).toBe(0)
    }),
    { numRuns: 25 },
  )
})

test.each([0, 1, 3])('lane %i of four breaking is the end of all, for one reason on each side', async broken => {
  await using side = await open()
  const sink = new KeepingSink()
  const { writer, reader } = await side.lane(sink)
  const parts = await partsOf(side)
  const large = new Uint8Array(16 * 2 ** 20)
  sink.isOpen = false
  const sends = parts.map((_, chunk) => writer.send(headerOf(large.length, { chunk }), large))
  const codes = Promise.all(sends.map(sent => sent.catch((error: SkeinError) => error.code)))
  await sink.waiting.promise
  parts[broken]?.close()
  expect(await codes).toEqual(sends.map(() => TransportErrors.CLOSED.code))
  expect((await writer.closed).kind).toBe('closed-by-us')
  for (const part of parts) expect((await part.closed).kind).toBe('closed-by-us')
  sink.isOpen = true
  reader.resume()
  expect(await reader.closed).toMatchObject({ kind: 'reset', code: TransportErrors.PEER_RESET.code })
  expect(sink.failures).toEqual([])
})

test('sides that disagree on the number of stripes do not mix up frames: the sender waits in vain, in bounded time', async () => {
  await using side = await open()
  const sink = new KeepingSink()
  const reader = await side.dial(sink, { stripes: 3 })
  const wait = stripedLane(side.door, receiver, { timeoutMs: 60 }, { stripes: 4 })
  expect(await wait.catch((error: SkeinError) => error.code)).toBe(CoreErrors.TIMEOUT.code)
  side.door.close()
  expect((await reader.closed).kind).toBe('closed-by-peer')
})

test('one stripe that is refused closes those that were taken', async () => {
  await using side = await open()
  const [, second = 0] = stripeChannels({ stripes })
  const identity = { ...side.address, ...identityOf(side), sink: new KeepingSink() }
  const only = await dialLane({ ...identity, channel: second })
  const dial = dialStripedLane(identity)
  expect(await dial.catch((error: SkeinError) => error.code)).toBe(TransportErrors.REFUSED.code)
  const [first] = stripeChannels({ stripes })
  const taken = await side.door.lane(receiver, { timeoutMs: 5_000 }, first)
  expect((await taken.closed).kind).toBe('closed-by-peer')
  only.close()
})

const identityOf = ({ door }: SendingSide) => ({
  token,
  generation: door.generation,
  rank: receiver,
  peer: door.rank,
})

test('nothing reaches the sink before the promise, also when the sender is early', async () => {
  await using side = await open()
  const sink = new KeepingSink()
  let isOpen = false
  const place = sink.place.bind(sink)
  sink.place = header => {
    expect(isOpen).toBe(true)
    return place(header)
  }
  const sending = (async () => {
    const [first] = await partsOf(side)
    await first?.send(headerOf(3), new Uint8Array(3))
  })()
  await side.dial(sink)
  isOpen = true
  await Promise.all([sending, sink.until(1)])
  await manyTurns(10)
  expect(sink.frames).toHaveLength(1)
})
