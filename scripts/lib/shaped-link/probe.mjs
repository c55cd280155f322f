// The two ends of a measurement through a link, a process each. `serve`: sends the first 50 bytes of a connection back and counts the
// rest. `ask ADDRESS SECONDS`: prints { rttMs, mbit } as JSON: the median of 50 round trips of one byte, then bytes that one
// TCP connection delivered in that time, its first half second left out.

import net from 'node:net'

const PORT = 7201
const ROUND_TRIPS = 50
const SETTLE_MS = 500
const CHUNK = Buffer.alloc(256 * 1024)

/** The receiver keeps the time: what the sender has handed to its kernel has not arrived. */
function serve() {
  net
    .createServer({ noDelay: true, allowHalfOpen: true }, socket => {
      let pings = 0
      let startMs
      let bytes = 0
      socket.on('error', () => undefined)
      socket.on('data', chunk => {
        if (pings < ROUND_TRIPS) {
          pings += chunk.length
          socket.write(chunk)
          return
        }
        const now = performance.now()
        startMs ??= now
        if (now - startMs > SETTLE_MS) bytes += chunk.length
      })
      socket.on('end', () => {
        const ms = performance.now() - startMs - SETTLE_MS
        socket.end(JSON.stringify({ mbit: (bytes * 8) / 1e3 / ms }))
      })
    })
    .listen({ port: PORT, host: '0.0.0.0' }, () => process.stdout.write('listening\n'))
}

async function ask(address, seconds) {
  const socket = net.connect({ host: address, port: PORT, noDelay: true })
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject))
  const times = []
  for (let trip = 0; trip < ROUND_TRIPS; trip++) {
    const start = performance.now()
    socket.write(Buffer.of(0))
    await new Promise(resolve => socket.once('data', resolve))
    times.push(performance.now() - start)
  }
  const rttMs = times.sort((a, b) => a - b)[ROUND_TRIPS >> 1]
  const endMs = performance.now() + seconds * 1000
  let said = ''
  socket.setEncoding('utf8').on('data', text => {
    said += text
  })
  while (performance.now() < endMs) {
    if (!socket.write(CHUNK)) await new Promise(resolve => socket.once('drain', resolve))
  }
  socket.end()
  await new Promise(resolve => socket.once('close', resolve))
  process.stdout.write(`${JSON.stringify({ rttMs, mbit: JSON.parse(said).mbit })}\n`)
}

const [role, address, seconds] = process.argv.slice(2)
if (role === 'serve') serve()
else await ask(address, Number(seconds))
