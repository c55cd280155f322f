import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { makeLink } from './link.mjs'

const SECONDS = 3
const CASES = [
  { nodes: 2, rateMbit: 1000, rttMs: 1 },
  { nodes: 2, rateMbit: 100, rttMs: 40 },
  { nodes: 4, rateMbit: 1000, rttMs: 1 },
  { nodes: 4, rateMbit: 100, rttMs: 40 },
]
const probe = path.join(import.meta.dirname, 'probe.mjs')
const congestionControl = () => fs.readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim()

/**
 * Prints what links really carry: each node sends to the next, round the circle, all at once. Throughput counts payload bytes at the
 * receiver; CPU is that of the carrier alone, in shares of one core. Resolves with the exit status.
 */
export async function check({ tun, links: [{ queueMs }] }, stop) {
  process.stdout.write(`TCP with ${congestionControl()}, ${SECONDS} s each, queues of ${queueMs} ms\n`)
  for (const { nodes, rateMbit, rttMs } of CASES) {
    stop.throwIfAborted()
    const shape = { rateMbit, rttMs, queueMs }
    const { carrier, results, counters } = await measure(
      Array.from({ length: nodes }, () => shape),
      tun,
      stop,
    )
    const list = (name, digits) => results.map(result => result[name].toFixed(digits)).join(' ')
    process.stdout.write(
      `${nodes} nodes, ${rateMbit} Mbit/s, ${rttMs} ms by ${carrier}: ${list('mbit', 0)} Mbit/s, round trip ${list('rttMs', 2)} ms${costOf(counters)}\n`,
    )
  }
  return 0
}

function costOf(counters) {
  if (counters === undefined) return ''
  const { cpuS, carried, dropped } = counters
  return `; carrier ${((100 * cpuS) / SECONDS).toFixed(0)} % of a core, ${carried} bursts, ${dropped} dropped`
}

async function measure(links, forceTun, stop) {
  const link = await makeLink(links, { forceTun })
  const children = []
  const start = (namespace, args) => {
    const child = spawn('ip', ['netns', 'exec', namespace, process.execPath, probe, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
      signal: stop,
    })
    child.on('error', () => undefined)
    children.push(child)
    return child
  }
  try {
    const { namespaces, addresses, carrier, broken } = link
    const servers = namespaces.map(namespace => start(namespace, ['serve']))
    await Promise.race([Promise.all(servers.map(server => once(server.stdout, 'data', { signal: stop }))), broken])
    const asking = namespaces.map((namespace, node) =>
      outputOf(start(namespace, ['ask', addresses[(node + 1) % addresses.length], String(SECONDS)])),
    )
    const results = await Promise.race([Promise.all(asking), broken])
    return { carrier, results, counters: await link.close() }
  } finally {
    for (const child of children) child.kill('SIGKILL')
    await link.close()
  }
}

async function outputOf(child) {
  let text = ''
  child.stdout.setEncoding('utf8').on('data', part => {
    text += part
  })
  await once(child, 'close')
  return JSON.parse(text)
}
