/**
 * Throughput of tensor lanes between two processes, in MiB/s, beside the floor: a bare net socket that is read into fixed memory,
 * no frames at all; and the receiver's CPU time per GiB, which a busy machine disturbs less. `node packages/transport/bench/lane.bench.ts [rounds]` after a build; the kinds take turns, medians and spread.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { issueAuthority, issueForHosts } from '@skein/certs'
import { attachLanes, dialLane, type LaneKind, listen, type TlsIdentity } from '@skein/transport'
import type { FrameHeader } from '@skein/wire'

const kinds = ['floor tcp', 'raw tcp', 'raw tls', 'floor unix', 'raw unix', 'ws', 'ws tls'] as const
type Kind = (typeof kinds)[number]

/** Payload bytes of a frame, and frames of one round. */
const shapes = [
  { payloadBytes: 4 * 1024, numFrames: 20_000 },
  { payloadBytes: 256 * 1024, numFrames: 2_000 },
] as const
const maxUnderWay = 16
const token = 'bench'

interface Sample {
  readonly mibPerSecond: number
  readonly cpuMsPerGib: number
}

interface Task {
  readonly kind: Kind
  readonly payloadBytes: number
  readonly numFrames: number
  readonly tls?: TlsIdentity
}

const laneKind = (kind: Kind): LaneKind => (kind.startsWith('ws') ? 'ws' : 'raw')
const socketPath = (kind: Kind) =>
  kind.endsWith('unix') ? path.join(os.tmpdir(), `skein-bench-${process.pid}`) : undefined

/** Calls `send` so that at most `maxUnderWay` are not flushed. */
async function pump(numFrames: number, send: (chunk: number) => Promise<void>): Promise<void> {
  let next = 0
  const one = async () => {
    while (next < numFrames) await send(next++)
  }
  await Promise.all(Array.from({ length: maxUnderWay }, one))
}

function headerOf(payloadBytes: number, chunk: number): FrameHeader {
  const elems = payloadBytes / 4
  const place = { generation: 1, opSeq: 0, fromRank: 0, algorithm: 0, tag: 0, flags: 0, payloadChecksum: 0 }
  return { kind: 'data', dtype: 'float32', ...place, chunk, count: elems, payloadBytes, opElems: elems }
}

/** The child: listens, tells where, sends one round to whoever comes, ends. */
async function runSender({ kind, payloadBytes, numFrames, tls }: Task): Promise<void> {
  const payload = new Uint8Array(new SharedArrayBuffer(payloadBytes)).fill(1)
  const unixPath = socketPath(kind)
  const place = unixPath === undefined ? { port: 0 } : { path: unixPath }
  if (kind.startsWith('floor')) {
    const server = net.createServer({ noDelay: true }, socket => {
      const send = () => new Promise<void>(resolve => void socket.write(payload, () => resolve()))
      void pump(numFrames, send).then(() => server.close())
    })
    server.listen(unixPath === undefined ? { host: '127.0.0.1', port: 0 } : { path: unixPath })
    await once(server, 'listening')
    const address = server.address()
    process.send?.({ ...(typeof address === 'string' ? { path: address } : { port: address?.port }) })
    await once(server, 'close')
    return
  }
  const listener = await listen({ ...place, ...(tls === undefined ? {} : { tls }) })
  const door = attachLanes(listener.server).open({ generation: 1, rank: 0, worldSize: 2, token })
  process.send?.(unixPath === undefined ? { port: listener.port } : { path: unixPath })
  const writer = await door.lane(1, { timeoutMs: 10_000 })
  await pump(numFrames, chunk => writer.send(headerOf(payloadBytes, chunk), payload))
  await writer.closed
  await listener.close()
}

/** One round, seen by the receiver. */
async function measure(task: Task): Promise<Sample> {
  const { kind, payloadBytes, numFrames, tls } = task
  const child = fork(import.meta.filename, ['--send', JSON.stringify(task)])
  const [address] = (await once(child, 'message')) as [{ port: number } | { path: string }]
  const place = new Uint8Array(new SharedArrayBuffer(payloadBytes))
  const total = payloadBytes * numFrames
  const exited = once(child, 'exit')
  const done = Promise.withResolvers<void>()
  const start = performance.now()
  const cpu = process.cpuUsage()
  if (kind.startsWith('floor')) {
    let received = 0
    const socket = net.connect({
      ...address,
      noDelay: true,
      onread: {
        buffer: place,
        callback: bytes => {
          received += bytes
          if (received === total) done.resolve()
          return true
        },
      },
    })
    await done.promise
    socket.destroy()
  } else {
    let received = 0
    const sink = {
      place: () => place,
      received: () => {
        if (++received === numFrames) done.resolve()
      },
      failed: done.reject,
    }
    const who = { token, generation: 1, rank: 1, peer: 0, sink }
    const reader = await dialLane({ ...address, ...who, kind: laneKind(kind), ...(tls === undefined ? {} : { tls }) })
    await done.promise
    reader.close()
  }
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  await exited
  return { mibPerSecond: total / 2 ** 20 / seconds, cpuMsPerGib: (user + system) / 1000 / (total / 2 ** 30) }
}

const [flag, text = ''] = process.argv.slice(2)
if (flag === '--send') {
  await runSender(JSON.parse(text) as Task)
  process.disconnect?.()
} else {
  const rounds = Number(flag ?? 7)
  const identity = await newIdentity()
  console.log(
    `Node ${process.version}, ${os.cpus()[0]?.model ?? '?'}, ${os.availableParallelism()} cores, ${rounds} rounds`,
  )
  for (const shape of shapes) {
    const samples = new Map<Kind, Sample[]>(kinds.map(kind => [kind, []]))
    for (let round = 0; round < rounds; round++) {
      for (const kind of kinds) {
        const tls = kind.endsWith('tls') ? { tls: identity } : {}
        samples.get(kind)?.push(await measure({ kind, ...shape, ...tls }))
      }
    }
    for (const [kind, values] of samples) {
      const row = [kind.padEnd(10), `${shape.payloadBytes / 1024} KiB`.padStart(8)]
      console.log(...row, spread(values, 'mibPerSecond', 'MiB/s'), spread(values, 'cpuMsPerGib', 'ms CPU/GiB'))
    }
  }
}

async function newIdentity(): Promise<TlsIdentity> {
  const validity = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 86_400_000) }
  const authority = await issueAuthority('bench', validity)
  return { ...(await issueForHosts(authority, ['127.0.0.1'], validity)), ca: authority.cert }
}

function spread(samples: readonly Sample[], key: keyof Sample, unit: string): string {
  const values = samples.map(sample => sample[key]).sort((a, b) => a - b)
  const [low = 0, median = 0, high = 0] = [values[0], values[values.length >> 1], values.at(-1)]
  return `${median.toFixed(0).padStart(7)} ${unit} (${low.toFixed(0)} … ${high.toFixed(0)})`
}
