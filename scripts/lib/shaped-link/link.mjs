import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { addNamespace, ip, nameOf, removeNamespace, run, succeeds } from './namespaces.mjs'

const MTU = 1500
/** Of each node; carrier.py gives it the same name. */
const DEVICE = 'link0'
/** A burst that crosses a link whole takes no longer than this of its rate: else a small message waits behind it. */
const LONGEST_BURST_MS = 0.5
const STOP_WITHIN_MS = 2_000

/**
 * Namespaces joined by shaped links. The round trip between nodes i and j is (rttMs of i + rttMs of j) / 2: each link has a quarter of
 * its node's as its delay one way, and a packet crosses two links there and two back. What a packet takes to be sent comes on top, twice.
 * `links` are `{ rateMbit, rttMs, queueMs }`, one a node. Resolves with `{ namespaces, addresses, device, carrier: 'netem' | 'tun', broken, close }`:
 * `broken` rejects when the carrier dies and never resolves; `close` is idempotent and resolves with the counters of the carrier, if any.
 */
export async function makeLink(links, { forceTun = false } = {}) {
  const nodes = links.map((link, node) => ({
    namespace: nameOf(`n${node}`),
    address: `10.201.0.${node + 1}`,
    rateMbit: link.rateMbit,
    delayMs: link.rttMs / 4,
    queueMs: link.queueMs,
  }))
  const hub = nameOf('hub')
  const made = []
  const add = namespace => {
    addNamespace(namespace)
    made.push(namespace)
  }
  let carrier = { stop: async () => undefined, broken: new Promise(() => {}) }
  let closing
  const close = () => {
    closing ??= (async () => {
      try {
        return await carrier.stop()
      } finally {
        for (const namespace of made) removeNamespace(namespace)
      }
    })()
    return closing
  }
  try {
    add(hub)
    for (const { namespace } of nodes) add(namespace)
    const hasNetem =
      !forceTun && succeeds('ip', ['netns', 'exec', hub, 'tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'netem'])
    if (hasNetem) joinByBridge(hub, nodes, node => ['netem', ...netemOf(node)])
    else carrier = await joinByCarrier(nodes)
    return {
      namespaces: nodes.map(node => node.namespace),
      addresses: nodes.map(node => node.address),
      device: DEVICE,
      carrier: hasNetem ? 'netem' : 'tun',
      broken: carrier.broken,
      close,
    }
  } catch (error) {
    await close().catch(() => undefined)
    throw error
  }
}

/** Arguments of netem for one direction of a link. Its limit counts packets: those in the queue and those under way. */
export function netemOf({ rateMbit, delayMs, queueMs }) {
  const bytesPerMs = (rateMbit * 1e6) / 8 / 1000
  const limit = Math.max(100, Math.ceil((bytesPerMs * (queueMs + delayMs)) / MTU))
  return ['rate', `${rateMbit}mbit`, 'delay', `${delayMs}ms`, 'limit', String(limit)]
}

/** A bridge in a namespace of its own; each end of each cable shapes what it sends. */
export function joinByBridge(hub, nodes, qdiscOf) {
  ip('-n', hub, 'link', 'add', 'hub0', 'type', 'bridge')
  ip('-n', hub, 'link', 'set', 'hub0', 'up')
  for (const [index, node] of nodes.entries()) {
    const port = `port${index}`
    ip('-n', hub, 'link', 'add', port, 'type', 'veth', 'peer', 'name', DEVICE, 'netns', node.namespace)
    ip('-n', hub, 'link', 'set', port, 'master', 'hub0', 'up')
    configure(node)
    for (const [namespace, device] of [
      [hub, port],
      [node.namespace, DEVICE],
    ]) {
      run('tc', ['-n', namespace, 'qdisc', 'add', 'dev', device, 'root', ...qdiscOf(node)])
    }
  }
}

function configure({ namespace, address, rateMbit }) {
  const burstBytes = Math.floor(((rateMbit * 1e6) / 8 / 1000) * LONGEST_BURST_MS)
  const gsoBytes = String(Math.min(65_536, Math.max(2 * MTU, burstBytes)))
  ip('-n', namespace, 'addr', 'add', `${address}/24`, 'dev', DEVICE)
  ip('-n', namespace, 'link', 'set', DEVICE, 'mtu', String(MTU), 'txqueuelen', '2000')
  ip('-n', namespace, 'link', 'set', DEVICE, 'gso_max_size', gsoBytes)
  ip('-n', namespace, 'link', 'set', DEVICE, 'up')
}

/** Starts carrier.py; `stop` ends it and resolves with its counters. */
async function joinByCarrier(nodes) {
  const script = path.join(import.meta.dirname, 'carrier.py')
  // A Ctrl-C in the terminal is this process's to answer.
  const carrier = spawn('python3', [script, JSON.stringify(nodes)], { stdio: 'pipe', detached: true })
  let said = ''
  let complaint = ''
  carrier.stdout.setEncoding('utf8').on('data', text => {
    said = (said + text).slice(-4096)
  })
  carrier.stderr.setEncoding('utf8').on('data', text => {
    complaint = (complaint + text).slice(-4096)
  })
  carrier.stdin.on('error', () => undefined)
  const ended = new Promise(resolve => {
    carrier.once('error', error => resolve(error.message))
    carrier.once('close', status => resolve(`it ended with status ${status}: ${complaint.trim()}`))
  })
  const broken = ended.then(what => {
    throw new Error(`packets cannot be carried in user space (python3 and /dev/net/tun): ${what}`)
  })
  broken.catch(() => undefined)
  const stop = async () => {
    carrier.stdin.end()
    const timer = setTimeout(() => carrier.kill('SIGKILL'), STOP_WITHIN_MS)
    await ended
    clearTimeout(timer)
    const counters = said.trim().split('\n').at(-1) ?? ''
    return counters.startsWith('{') ? JSON.parse(counters) : undefined
  }
  try {
    await Promise.race([once(carrier.stdout, 'data'), broken])
    for (const node of nodes) configure(node)
  } catch (error) {
    await stop()
    throw error
  }
  return { stop, broken }
}
