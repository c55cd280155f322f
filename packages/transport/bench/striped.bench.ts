/**
 * What stripes bring on a far link and cost on a near one: MiB/s of 256 KiB frames through one lane over 1, 2 and 4 sockets. After a
 * build, as root, the sender in one namespace and the receiver in the other:
 *   node scripts/shaped-link.mjs --rate-mbit 1000 --rtt-ms 100 -- node packages/transport/bench/striped.bench.ts [seconds] [rounds]
 * Without a shaped link both ends are processes of this host, over loopback.
 */
import { fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { attachLanes, dialStripedLane, type LaneWriter, listen, stripedLane } from '@skein/transport'
import type { FrameHeader } from '@skein/wire'

const payloadBytes = 256 * 1024
const underWay = 64
const stripeCounts = [1, 2, 4] as const
const port = 7301
const settleMs = 1_000

const [secondsText = '3', roundsText = '3', role] = process.argv.slice(2)
const [seconds, rounds] = [Number(secondsText), Number(roundsText)]
const [host = '127.0.0.1'] = (process.env['SHAPED_LINK_ADDRESSES'] ?? '').split(',').filter(text => text !== '')
const identity = { token: 'bench', generation: 1 }
/** Rounds have generations of their own: their lanes are never used again. */
const tasks = Array.from({ length: rounds }, () => stripeCounts)
  .flat()
  .map((stripes, index) => ({ stripes, generation: index + 1 }))

const header = (generation: number): FrameHeader => ({
  kind: 'data',
  dtype: 'uint8',
  flags: 0,
  generation,
  opSeq: 0,
  fromRank: 0,
  algorithm: 0,
  chunk: 0,
  count: payloadBytes,
  payloadBytes,
  opElems: payloadBytes,
  tag: 0,
  payloadChecksum: 0,
})

async function pump(writer: LaneWriter, generation: number): Promise<void> {
  const payload = new Uint8Array(payloadBytes)
  let isOver = false
  void writer.closed.then(() => {
    isOver = true
  })
  const one = async () => {
    while (!isOver) await writer.send(header(generation), payload).catch(() => undefined)
  }
  await Promise.all(Array.from({ length: underWay }, one))
}

async function send(): Promise<void> {
  const listener = await listen({ host, port })
  const lanes = attachLanes(listener.server)
  for (const { stripes, generation } of tasks) {
    const door = lanes.open({ ...identity, generation, rank: 0, worldSize: 2 })
    await pump(await stripedLane(door, 1, { timeoutMs: 20_000 }, { stripes }), generation)
    door.close()
  }
  await listener.close()
}

async function receive(): Promise<void> {
  const results = new Map<number, number[]>(stripeCounts.map(stripes => [stripes, []]))
  const place = new Uint8Array(payloadBytes)
  for (const { stripes, generation } of tasks) {
    let bytes = 0
    const sink = {
      place: () => place,
      received: () => {
        bytes += payloadBytes
      },
      failed: (error: Error) => console.error(error),
    }
    const reader = await dialStripedLane({ ...identity, generation, host, port, rank: 1, peer: 0, sink, stripes })
    await sleep(settleMs)
    const [start, before] = [performance.now(), bytes]
    await sleep(seconds * 1_000)
    results.get(stripes)?.push((bytes - before) / 2 ** 20 / ((performance.now() - start) / 1_000))
    reader.close()
    await reader.closed
  }
  for (const [stripes, samples] of results) {
    const sorted = samples.sort((a, b) => a - b)
    const [low = 0, median = 0, high = 0] = [sorted[0], sorted[sorted.length >> 1], sorted.at(-1)]
    console.log(`${stripes} stripes: ${median.toFixed(1)} MiB/s (${low.toFixed(1)} … ${high.toFixed(1)})`)
  }
}

if (role === 'send' || process.env['SHAPED_LINK_NODE'] === '0') await send()
else {
  if (process.env['SHAPED_LINK_NODE'] === undefined) fork(import.meta.filename, [secondsText, roundsText, 'send'])
  await sleep(500)
  await receive()
}
