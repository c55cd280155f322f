/**
 * Ten thousand strangers in a process of their own: each connects, from one of a few addresses of this host, says nothing or half a request, and
 * stays until it is put out. Tells how many have connected so far whenever it is asked, and at the end by itself.
 */
import net from 'node:net'
import { seededRandom } from '@skein/core'

const { port, count, seed } = JSON.parse(process.argv[2] ?? '{}') as { port: number; count: number; seed: number }
const random = seededRandom(seed)
const head = 'GET /control HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer '
/** More at a time would only fill the queue of the system, which then makes everyone wait for its timers. */
const maxConnecting = 64
let connected = 0

function connect(from: string, words: string): Promise<void> {
  return new Promise(resolve => {
    const socket = net.connect({ port, host: '127.0.0.1', localAddress: from })
    socket.on('error', () => undefined)
    socket.resume()
    socket.once('connect', () => {
      connected++
      if (words !== '') socket.write(words)
      resolve()
    })
    socket.once('close', () => resolve())
  })
}

async function one(): Promise<void> {
  for (;;) {
    if (started === count) return
    started++
    const words = random.nextInt(2) === 0 ? '' : head.slice(0, 1 + random.nextInt(head.length - 1))
    await connect(`127.0.0.${2 + random.nextInt(8)}`, words)
  }
}

let started = 0
const flood = Promise.all(Array.from({ length: maxConnecting }, one))
process.on('message', () => process.send?.({ connected }))
await flood
process.send?.({ connected, isDone: true })
