import type { IncomingMessage } from 'node:http'
import { lanes16, type Random, seededRandom, SkeinError } from '@skein/core'
import { fuzzRuns, mutate, temporaryFolder, useTestSeed } from '@skein/testkit'
import { decodeHeader, type FrameHeader, headerBytes } from '@skein/wire'
import { expect, test } from 'vitest'
import { dialLane } from './dial-lane.ts'
import { FrameReader } from './frame-reader.ts'
import {
  fakeLane,
  generation,
  headerOf,
  headerToBytes,
  KeepingSink,
  media,
  randomBytes,
  receiver,
  sender,
  token,
} from './lane-rig.test.util.ts'
import { newNonce } from './lane-proof.ts'
import { laneHeaders, parseLaneRequest } from './lane-request.ts'
import { parseResponseHead } from './response-head.ts'

// SKEIN_FUZZ_RUNS=10 takes ten times as many inputs.
const seed = useTestSeed()
const limits = { maxPayloadBytes: 600, generation, fromRank: sender }
const maxInputBytes = 6_000

/** What bytes must become, however they are cut: read at once, by the shortest reader there is. */
function expected(bytes: Uint8Array): { frames: { header: FrameHeader; payload: Uint8Array }[]; code: string } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const frames = []
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < headerBytes) return { frames, code: 'cut' }
    const decoded = decodeHeader(view, at, limits)
    if (!decoded.ok) return { frames, code: decoded.error.code }
    at += headerBytes
    const end = at + decoded.header.payloadBytes
    if (end > bytes.length) return { frames, code: 'cut' }
    frames.push({ header: decoded.header, payload: bytes.subarray(at, end) })
    at = end
  }
  return { frames, code: 'whole' }
}

/** A sink that waits now and then, and sees to it that nobody asks for more memory than a payload may have. */
class FuzzSink extends KeepingSink {
  readonly #random: Random

  constructor(random: Random) {
    super()
    this.#random = random
  }

  override place(header: FrameHeader): Uint8Array | 'wait' {
    if (header.payloadBytes > limits.maxPayloadBytes) throw new Error(`a place of ${header.payloadBytes} B`)
    this.isOpen = this.#random.nextInt(8) > 0
    return super.place(header)
  }
}

/** Reads as a socket does, by `feed` or into given memory, in any portions; every step must use at least one byte. */
function read(bytes: Uint8Array, random: Random): { sink: FuzzSink; code: string } {
  const sink = new FuzzSink(random)
  let failure: string | undefined
  const reader = new FrameReader(sink, limits, error => {
    if (failure !== undefined) throw new Error(`failed twice: ${failure}, then ${error.code}`)
    failure = error.code
  })
  const largest = 1 + random.nextInt(random.nextInt(2) === 0 ? 80 : 5_000)
  const isFed = random.nextInt(2) === 0
  for (let at = 0; at < bytes.length && failure === undefined; ) {
    const wanted = 1 + random.nextInt(largest)
    if (isFed) {
      reader.feed(bytes.subarray(at, at + wanted))
      at += wanted
    } else {
      const target = reader.buffer()
      const count = Math.min(wanted, target.byteLength, bytes.length - at)
      if (count === 0) throw new Error('no place to read to')
      target.set(bytes.subarray(at, at + count))
      reader.filled(target, count)
      at += count
    }
    while (failure === undefined && !reader.wantsBytes) reader.resume()
  }
  const code = failure ?? (reader.isMidFrame ? 'cut' : 'whole')
  reader.end()
  return { sink, code }
}

/** Streams of whole frames, some by a liar: fields that cannot be under a right checksum. */
function frameStreams(random: Random): Uint8Array[] {
  const sizes = [0, 1, 7, 48, 200, 599, 600, 601]
  const wrong = [{ generation: generation + 1 }, { fromRank: sender + 1 }].map(fields =>
    headerToBytes(headerOf(0, fields)),
  )
  wrong.push(unknownKind())
  const streams = Array.from({ length: 64 }, (_, i) => {
    const frames = Array.from({ length: 1 + random.nextInt(4) }, (_unused, chunk) => {
      const size = sizes[random.nextInt(sizes.length - (i % 2))] as number
      const head = headerToBytes(headerOf(size, { chunk }))
      if (i % 4 === 3) lie(random, head)
      return Buffer.concat([head, randomBytes(random, size)])
    })
    return Buffer.concat(frames)
  })
  return [...streams, ...wrong]
}

function lie(random: Random, head: Uint8Array): void {
  const changed = mutate(random, [head], headerBytes)
  if (changed.length === headerBytes) head.set(changed)
  seal(head)
}

function unknownKind(): Uint8Array {
  const head = headerToBytes(headerOf(0))
  head[5] = 0xff
  seal(head)
  return head
}

function seal(head: Uint8Array): void {
  const view = new DataView(head.buffer, head.byteOffset)
  view.setUint32(headerBytes - 4, lanes16(head.subarray(0, headerBytes - 4)).lo, true)
}

test('200,000 mutated streams become the same frames and the same typed end, however they are cut', () => {
  const ends = new Map<string, number>()
  const runs = fuzzRuns(200_000)
  const samples = frameStreams(seededRandom(seed, 1))
  for (let round = 0; round < runs; round++) {
    const random = seededRandom(seed, 2, round)
    const bytes = mutate(random, samples, maxInputBytes)
    const wanted = expected(bytes)
    const { sink, code } = read(bytes, random)
    const isSame =
      code === wanted.code &&
      sink.frames.length === wanted.frames.length &&
      sink.frames.every(
        ({ payload }, i) => Buffer.compare(payload, wanted.frames[i]?.payload ?? new Uint8Array(1)) === 0,
      )
    if (!isSame) {
      expect({ round, code, payloads: sink.frames.map(frame => frame.payload) }).toEqual({
        round,
        code: wanted.code,
        payloads: wanted.frames.map(frame => frame.payload),
      })
    }
    ends.set(code, (ends.get(code) ?? 0) + 1)
  }
  // The mutations reach every way out, or they test less than they say.
  const reached = ['whole', 'cut', 'GARBAGE', 'VERSION', 'MALFORMED', 'GENERATION', 'SENDER', 'TOO_LARGE']
  for (const name of reached) expect([...ends.keys()].join(' ')).toContain(name)
})

test('30,000 mutated answers to an upgrade are read, waited for or refused, by their first bytes or all', () => {
  const answers = [
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: skein-lane/1\r\n\r\n',
    'HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Length: 3\r\nx-skein-reason: no\r\n\r\nno\n',
    `HTTP/1.1 200 OK\r\nX: ${' \t'.repeat(1_000)}y\r\n\r\n`,
    'HTTP/1.1 999 \r\n__proto__: x\r\nconstructor: y\r\n\r\n',
    '\r\n\r\n',
  ].map(text => Buffer.from(text))
  for (let round = 0; round < fuzzRuns(30_000); round++) {
    const random = seededRandom(seed, 3, round)
    const bytes = mutate(random, answers, 4_096)
    const whole = parseResponseHead(bytes)
    const part = parseResponseHead(bytes.subarray(0, random.nextInt(bytes.length + 1)))
    const isSound =
      (whole === undefined && part === undefined) ||
      whole === 'garbage' ||
      (typeof whole === 'object' &&
        whole.headBytes <= bytes.length &&
        whole.status >= 0 &&
        whole.status <= 999 &&
        // What is whole in its beginning is the same in full.
        (part === undefined || (typeof part === 'object' && part.headBytes === whole.headBytes)))
    if (!isSound) expect.fail(`round ${round}: ${JSON.stringify({ part, whole })}`)
  }
})

test('30,000 mutated requests for a lane are parsed within their limits or refused', () => {
  const good = {
    upgrade: 'skein-lane/1',
    ...laneHeaders({ kind: 'raw', generation, group: 3, channel: 2, from: 1, to: 0 }, token, newNonce()),
  }
  const numbers = ['0', '65535', '65536', '4294967295', '4294967296', '-1', '1e3', ' 7', '', '0x10', '9'.repeat(400)]
  const names = Object.keys(good)
  let taken = 0
  for (let round = 0; round < fuzzRuns(30_000); round++) {
    const random = seededRandom(seed, 4, round)
    const headers: Record<string, string> = { ...good }
    for (let change = random.nextInt(3); change > 0; change--) {
      const name = names[random.nextInt(names.length)] as keyof typeof good
      const choice = random.nextInt(4)
      if (choice === 0) delete headers[name]
      else if (choice === 1)
        headers[name] = `${good[name]}, ${good[name]}` // what http makes of two
      else if (choice === 2) headers[name] = numbers[random.nextInt(numbers.length)] as string
      else headers[name] = Buffer.from(mutate(random, [Buffer.from(good[name])], 5_000)).toString('latin1')
    }
    const parsed = parseLaneRequest({ headers } as unknown as IncomingMessage)
    if ('status' in parsed) {
      if (parsed.status !== 400 && parsed.status !== 426) expect.fail(`round ${round}: ${JSON.stringify(parsed)}`)
      continue
    }
    taken++
    const bounds = { generation: 0xffff_ffff, group: 0xffff, channel: 0xff, from: 0xffff, to: 0xffff }
    for (const [name, max] of Object.entries(bounds)) {
      const value: number = parsed[name as keyof typeof bounds]
      if (!(Number.isInteger(value) && value >= 0 && value <= max)) expect.fail(`round ${round}: ${name} is ${value}`)
    }
  }
  expect(taken).toBeGreaterThan(1_000)
})

test.each(media)('150 mutated streams over a real lane end it with a typed reason: $name', async medium => {
  using folder = temporaryFolder('fuzz')
  const samples = frameStreams(seededRandom(seed, 5))
  for (let round = 0; round < fuzzRuns(150); round++) {
    const random = seededRandom(seed, 6, round)
    const bytes = mutate(random, samples, maxInputBytes)
    const wanted = expected(bytes)
    await using fake = await fakeLane(medium, folder.path, bytes)
    const sink = new KeepingSink()
    const identity = { token, generation, rank: receiver, peer: sender, maxPayloadBytes: limits.maxPayloadBytes }
    const reader = await dialLane({ ...fake.address, ...identity, sink })
    if (wanted.code === 'whole' || wanted.code === 'cut') {
      await sink.until(wanted.frames.length)
      reader.close()
    }
    const reason = await reader.closed
    expect(reason.error).toBeInstanceOf(SkeinError)
    expect(sink.frames).toHaveLength(wanted.frames.length)
    expect(reason.kind).toBe(wanted.code.startsWith('SKEIN_') ? 'protocol-error' : 'closed-by-us')
    if (reason.kind === 'protocol-error') expect(reason.code).toBe(wanted.code)
  }
})
