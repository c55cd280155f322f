import { seededRandom, SkeinError } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { pack } from 'msgpackr'
import { expect, test } from 'vitest'
import {
  decodeCoordinatorMessage,
  decodeWorkerMessage,
  encodeCoordinatorMessage,
  encodeWorkerMessage,
} from './control-codec.ts'
import type { CoordinatorMessage } from './coordinator-messages.ts'
import { WireErrors } from './errors.ts'
import { scanMsgpack } from './scan-msgpack.ts'
import type { WorkerMessage } from './worker-messages.ts'

const seed = useTestSeed()
const digest = '0123456789abcdef'
const lane = { host: '10.0.0.7', port: 4321 }
const error = {
  code: 'SKEIN_X',
  retry: 'never',
  what: 'w',
  why: 'y',
  todo: 't',
  details: { step: 3, of: [1, null] },
} as const

const fromWorker: readonly WorkerMessage[] = [
  {
    type: 'join',
    workerId: 'w-0.a_b',
    incarnation: 'ff00',
    protocol: 1,
    lane,
    pid: 77,
    device: { backend: 'node', version: '2.15', threads: 2 },
    holds: [
      { part: 0, step: 5, digest },
      { part: 0, step: 4, digest },
    ],
    keeps: [{ part: 0, step: 4, digests: [digest, digest] }],
  },
  { type: 'mirrored', generation: 1, step: 10, digests: [digest, digest] },
  { type: 'loaded', dataFingerprint: 'abc', numParams: 3_000_000 },
  { type: 'caught-up', generation: 2, holds: [{ part: 3, step: 7, digest }] },
  { type: 'catch-up-failed', generation: 1, error },
  { type: 'ready', generation: 1, digest },
  {
    type: 'vote',
    generation: 1,
    step: 12,
    digest,
    loss: 2.25,
    samples: [352, 384],
    took: [352, 368],
    tokens: 4096,
    stepMs: 310.5,
    computeMs: 250.25,
    commMs: 60,
    waitMs: 0.125,
    bytesSent: 2 ** 40,
    rssBytes: 5e9,
    liveTensors: 12,
  },
  { type: 'evaluated', generation: 1, step: 12, loss: Number.POSITIVE_INFINITY, phase: 'during' },
  { type: 'checkpoint-part', generation: 1, step: 12 },
  { type: 'checkpointed', generation: 1, step: 12, path: '/runs/a/step-12' },
  {
    type: 'checkpoint-failed',
    generation: 1,
    step: 12,
    error: { code: 'SKEIN_CHECKPOINT_WRITE', retry: 'same-op', what: 'w', todo: 't', details: { errno: 'ENOSPC' } },
  },
  { type: 'finished', generation: 1, step: 12, peakRssBytes: 1, sampleText: 'the ünïcode 🪿', baselineLoss: 2.5 },
  { type: 'heartbeat', progress: 9, step: 12, opsEntered: 30 },
  {
    type: 'timeline',
    generation: 1,
    step: 10,
    ops: [
      { op: 'F', stage: 0, microbatch: 3, start: 1.5, end: 2 },
      { op: 'BW', stage: 4, microbatch: 0, slice: 1, start: 3, end: 7.25 },
    ],
  },
  { type: 'failed', error },
  { type: 'peer-lost', generation: 1, peerRank: 2, error },
  {
    type: 'flight',
    generation: 1,
    cause: 'asked',
    computingMs: 12.5,
    ops: [
      {
        opSeq: 7,
        channel: 0,
        name: 'ring all-reduce',
        elems: 1000,
        enteredAgoMs: 3.5,
        outcome: 'running',
        bytesSent: 4000,
        peers: [
          {
            peer: 1,
            framesSent: 2,
            framesToSend: 2,
            framesReceived: 1,
            framesToReceive: 2,
            bytesReceived: 2000,
            receivingMs: 0.5,
            inFrameMs: 3,
          },
        ],
      },
    ],
  },
  { type: 'leave', reason: 'drained' },
]
const members = [
  { workerId: 'w0', rank: 0, lane: { ...lane, local: { hostId: 'b-1-2', path: '/tmp/skein-1/lanes' } }, share: 32 },
] as const
const fromCoordinator: readonly CoordinatorMessage[] = [
  {
    type: 'welcome',
    runId: 'r',
    runDir: '/runs/r',
    job: { steps: 5, mesh: { dp: 2 }, tags: ['a', null, true, 1.5] },
    maxWorkers: 8,
  },
  { type: 'generation', generation: 1, parts: 1, members, laneToken: 's', startStep: 0, origin: { kind: 'initial' } },
  {
    type: 'generation',
    generation: 2,
    parts: 2,
    members,
    laneToken: 's',
    startStep: 7,
    origin: { kind: 'members', ranks: [0, 3] },
  },
  {
    type: 'generation',
    generation: 3,
    parts: 2,
    members,
    laneToken: 's',
    startStep: 20,
    origin: { kind: 'members', ranks: [0], copies: [{ part: 1, ranks: [0] }] },
    mirrored: 20,
  },
  {
    type: 'generation',
    generation: 3,
    parts: 1,
    members,
    laneToken: 's',
    startStep: 7,
    origin: { kind: 'checkpoint', path: '/c' },
  },
  { type: 'catch-up', generation: 1, parts: 2, part: 1, members, laneToken: 's', step: 4 },
  { type: 'shares', generation: 1, fromStep: 23, shares: [5, 5, 2] },
  { type: 'regroup', generation: 1, afterStep: 4, reason: 'w3 to leave', save: false },
  { type: 'start', generation: 1, step: 0 },
  { type: 'start', generation: 2, step: 10, mirror: true },
  { type: 'commit', generation: 2, step: 20, digest, mirror: true },
  { type: 'mirror-whole', generation: 2, step: 20 },
  { type: 'commit', generation: 1, step: 1, digest },
  { type: 'checkpoint-parts', generation: 1, step: 12, isWhole: true },
  { type: 'stop', generation: 1, afterStep: 9, reason: 'asked' },
  { type: 'abort', generation: 1, error },
  { type: 'refuse', error },
  { type: 'fail', error },
  { type: 'report-flight' },
  { type: 'finish' },
]

test.each(fromWorker)('$type goes to the coordinator and arrives as it was', message => {
  expect(decodeWorkerMessage(encodeWorkerMessage(message))).toEqual({ ok: true, message })
  expect(decodeCoordinatorMessage(encodeWorkerMessage(message)).ok).toBe(false)
})

test.each(fromCoordinator)('$type goes to the worker and arrives as it was', message => {
  expect(decodeCoordinatorMessage(encodeCoordinatorMessage(message))).toEqual({ ok: true, message })
  expect(decodeWorkerMessage(encodeCoordinatorMessage(message)).ok).toBe(false)
})

/** JSON as a job can be: no -0 (JSON knows none), no key "__proto__" (refused). */
const jobs = fc
  .jsonValue({ maxDepth: 8 })
  .map(value => JSON.parse(JSON.stringify(value).replaceAll('__proto__', 'proto')) as unknown)

test('any JSON job arrives as it was', () => {
  fc.assert(
    fc.property(jobs, job => {
      const message: CoordinatorMessage = { type: 'welcome', runId: 'r', runDir: 'd', maxWorkers: 1, job }
      expect(decodeCoordinatorMessage(encodeCoordinatorMessage(message))).toEqual({ ok: true, message })
    }),
  )
})

test('a loss that diverged still arrives', () => {
  const message = { type: 'evaluated', generation: 1, step: 2, loss: Number.NaN, phase: 'final' } as const
  expect(decodeWorkerMessage(encodeWorkerMessage(message))).toEqual({ ok: true, message })
})

test.each([
  ['a tensor', { weights: new Float32Array([1, 2]) }, /weights is a Float32Array/],
  ['bytes', [new Uint8Array(3)], /\[0\] is a Uint8Array/],
  ['a BigInt', { n: 1n }, /n is of type bigint/],
  ['NaN', { lr: Number.NaN }, /lr is NaN/],
  ['a Map', new Map(), /is a Map/],
  ['a key "__proto__"', JSON.parse('{"a":{"__proto__":1}}'), /a has a key "__proto__"/],
])('%s in a job is refused at the sender, with its place', (_, job, message) => {
  expect(() => encodeCoordinatorMessage({ type: 'welcome', runId: 'r', runDir: 'd', maxWorkers: 1, job })).toThrow(
    message,
  )
})

test('a circular job is refused, not followed for ever', () => {
  const job: Record<string, unknown> = {}
  job['self'] = job
  expect(() => encodeCoordinatorMessage({ type: 'welcome', runId: 'r', runDir: 'd', maxWorkers: 1, job })).toThrow(
    /nested over 32 deep/,
  )
})

test('the report of a failure arrives whatever the error carries', () => {
  const details: Record<string, unknown> = {
    tensor: new Float32Array(8),
    nan: Number.NaN,
    cause: new Error('inner'),
    big: 5n,
    gone: undefined,
    long: 'x'.repeat(100_000),
    many: Array.from({ length: 10_000 }, (_, i) => i),
  }
  details['self'] = details
  const failure = new SkeinError(WireErrors.FRAME_GARBAGE, { what: 'w'.repeat(1e6), todo: 't', details })
  const decoded = decodeWorkerMessage(encodeWorkerMessage({ type: 'failed', error: failure.toJSON() }), 20_000)
  expect(decoded).toMatchObject({
    ok: true,
    message: { error: { code: failure.code, details: { tensor: 'Float32Array of 32 B', nan: 'NaN', cause: 'inner' } } },
  })
  const hostile = Object.defineProperty({}, 'x', { enumerable: true, get: () => expect.fail('a getter') })
  const odd = { ...failure.toJSON(), details: hostile }
  expect(decodeWorkerMessage(encodeWorkerMessage({ type: 'failed', error: odd })).ok).toBe(true)
})

test('undefined optional fields are left out', () => {
  const message = { type: 'finished', generation: 1, step: 2, peakRssBytes: 3, sampleText: undefined }
  const decoded = decodeWorkerMessage(encodeWorkerMessage(message as unknown as WorkerMessage))
  expect(decoded).toEqual({ ok: true, message: { type: 'finished', generation: 1, step: 2, peakRssBytes: 3 } })
})

const bytesOf = (...codes: readonly number[]) => Uint8Array.from(codes)
test.each([
  ['nothing', bytesOf()],
  ['an array that claims 30 million items', bytesOf(0xdd, 0x01, 0xc9, 0xc3, 0x80)],
  ['a map that claims 4 billion', bytesOf(0xdf, 0xff, 0xff, 0xff, 0xff)],
  ['a string that claims 4 GiB', bytesOf(0xdb, 0xff, 0xff, 0xff, 0xff, 0x41)],
  ['a binary', bytesOf(0xc4, 0x01, 0x00)],
  ['an extension', bytesOf(0xc7, 0x01, 0x62, 0x00)],
  ['a key that is no string', bytesOf(0x81, 0x01, 0x01)],
  ['bytes after the value', bytesOf(0xc0, 0xc0)],
  ['arrays 10,000 deep', new Uint8Array(10_000).fill(0x91)],
])('%s is garbage, found before anything is built', (_, bytes) => {
  const decoded = decodeWorkerMessage(bytes)
  expect(decoded.ok ? 'ok' : decoded.error.code).toBe(WireErrors.MESSAGE_GARBAGE.code)
})

test.each([
  ['an unknown type', { type: 'heartbeet' }, /type "heartbeet".*"heartbeat" is the nearest/],
  ['no type', { step: 1 }, /type none/],
  ['an unknown key', { type: 'leave', reason: 'x', extra: 1 }, /leave.*extra/],
  ['a missing field', { type: 'leave' }, /reason/],
  ['a negative step', { type: 'heartbeat', progress: 1, step: -1 }, /step/],
  [
    'a digest of another form',
    { ...fromWorker.find(({ type }) => type === 'ready'), digest: 'XYZ' },
    /digest: not 16 hex digits/,
  ],
  ['a worker name that is a path', { ...fromWorker[0], workerId: '../../etc' }, /workerId/],
  ['not an object', 5, /type none/],
])('%s is refused with its place', (_, value, message) => {
  const decoded = decodeWorkerMessage(pack(value))
  expect(decoded.ok ? 'ok' : decoded.error.code).toBe(WireErrors.MESSAGE_INVALID.code)
  expect(decoded.ok ? '' : decoded.error.message).toMatch(message)
})

test('a message over the limit is refused on both sides', () => {
  const message: CoordinatorMessage = { type: 'welcome', runId: 'r', runDir: 'd', maxWorkers: 1, job: 'x'.repeat(2000) }
  expect(() => encodeCoordinatorMessage(message, 1000)).toThrow(/at most 1000 B/)
  const decoded = decodeCoordinatorMessage(encodeCoordinatorMessage(message), 1000)
  expect(decoded.ok ? 'ok' : decoded.error.code).toBe(WireErrors.MESSAGE_TOO_LARGE.code)
})

test('20,000 mutated messages never throw, and what passes can be sent again', () => {
  const random = seededRandom(seed)
  const originals = fromWorker.map(message => encodeWorkerMessage(message))
  for (let round = 0; round < 20_000; round++) {
    const bytes = (originals[round % originals.length] ?? bytesOf()).slice()
    for (let change = random.nextInt(4); change >= 0; change--)
      bytes[random.nextInt(bytes.length)] = random.nextInt(256)
    const cut = random.nextInt(4) === 0 ? bytes.subarray(0, random.nextInt(bytes.length)) : bytes
    const decoded = decodeWorkerMessage(cut)
    if (decoded.ok) expect(decodeWorkerMessage(encodeWorkerMessage(decoded.message)).ok).toBe(true)
  }
})

test('the scan takes whatever msgpackr writes for plain JSON', () => {
  fc.assert(
    fc.property(jobs, job => {
      const message: CoordinatorMessage = { type: 'welcome', runId: 'r', runDir: 'd', maxWorkers: 1, job }
      expect(scanMsgpack(encodeCoordinatorMessage(message))).toBeUndefined()
    }),
  )
})
