/**
 * One rank of the floor of the collectives bench: the bytes of a ring all-reduce through bare sockets, from each rank to the next, all
 * at once: no order among them, no sum, no frames. Speaks as collective-rank.
 */
import net from 'node:net'
import { once } from 'node:events'
import readline from 'node:readline'
import type { RankOptions } from './rank-threads.ts'
import type { Address } from './collective-comm.ts'

const writeBytes = 256 * 1024

const options = JSON.parse(process.argv[2] ?? '') as RankOptions
const { rank, ranks, lanes, maxBytes } = options
const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`)
const source = new Uint8Array(maxBytes)
const target = new Uint8Array(writeBytes)

const server = net.createServer({ noDelay: true })
server.listen(lanes === 'unix' ? { path: options.socketPath } : { host: options.host, port: 0 })
await once(server, 'listening')
const accepted = once(server, 'connection') as Promise<[net.Socket]>
const bound = server.address()
const port = typeof bound === 'object' && bound !== null ? bound.port : 0
say({ ready: true, address: { host: options.host, port, socketPath: options.socketPath } satisfies Address })

let outgoing: net.Socket | undefined
let incoming: net.Socket | undefined
let left = 0
let whole = () => {}

/** Time to send and to receive `bytes`. */
async function exchange(bytes: number): Promise<number> {
  const start = performance.now()
  const arrived = new Promise<void>(resolve => {
    whole = resolve
  })
  left += bytes
  for (let at = 0; at < bytes; at += writeBytes) {
    const from = at % (maxBytes - writeBytes)
    outgoing?.write(source.subarray(from, from + Math.min(writeBytes, bytes - at)))
  }
  if (left > 0) await arrived
  return performance.now() - start
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [command, first = '', second = ''] = line.split(' ')
  if (command === 'connect') {
    const before = (JSON.parse(first) as Address[])[(rank + ranks - 1) % ranks] as Address
    incoming = net.connect({
      ...(lanes === 'unix' ? { path: before.socketPath } : { host: before.host, port: before.port }),
      noDelay: true,
      onread: {
        buffer: target,
        callback: bytes => {
          left -= bytes
          if (left <= 0) whole()
          return true
        },
      },
    })
    const [socket] = await accepted
    outgoing = socket
    say({ connected: true })
  } else if (command === 'run') {
    const bytes = Math.round((2 * (ranks - 1) * Number(first)) / ranks)
    const ms: number[] = []
    for (let round = 0; round < Number(second); round++) ms.push(await exchange(bytes))
    say({ ms })
  } else break
}
outgoing?.destroy()
incoming?.destroy()
server.close()
