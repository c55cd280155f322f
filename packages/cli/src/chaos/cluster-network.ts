import { once } from 'node:events'
import net from 'node:net'
import { type Deferred, deferred } from '@skein/core'
import { type Edge, type NetworkPort, ShapedNetwork } from '@skein/shaper'
import type { RunEvent } from '../run-event.ts'
import { FrameWatch } from './frame-watch.ts'

/** The coordinator's name among the nodes; no worker has it. */
export const coordinatorNode = '(coordinator)'

/** How one worker process takes part: flags for `skein worker`. */
export interface NetworkPlace {
  readonly join: string
  readonly flags: readonly string[]
  /** To be called when the process is gone. */
  close(): Promise<void>
}

/**
 * Puts a network of its own between the processes of a run: each worker reaches the coordinator, and is reached by its peers, through ports of this
 * process. So links can be cut, slowed and falsified without any right or any code in the workers. Who dials a lane is known from the
 * request's rank and the members of its generation.
 */
export class ClusterNetwork implements AsyncDisposable {
  readonly #network: ShapedNetwork
  readonly #watches = new Map<string, FrameWatch>()
  readonly #generations = new Map<number, Deferred<ReadonlyMap<number, string>>>()

  constructor(seed: number) {
    this.#network = new ShapedNetwork({ seed, tap: ({ from }) => this.frames(from).tap() })
  }

  /** What happens in the run: tells which worker has which rank. */
  heard(event: RunEvent): void {
    if (event.event !== 'generation') return
    const members = event['members'] as readonly { readonly workerId: string; readonly rank: number }[]
    this.#membersOf(Number(event['generation'])).resolve(new Map(members.map(({ rank, workerId }) => [rank, workerId])))
  }

  /** Ports for one process of this worker. */
  async place(workerId: string, coordinatorUrl: string): Promise<NetworkPlace> {
    const { protocol, hostname, port } = new URL(coordinatorUrl)
    const control = await this.#network.open({
      node: coordinatorNode,
      to: { host: hostname, port: Number(port) },
      dialer: workerId,
    })
    const lanePort = await freePort()
    const lanes: NetworkPort = await this.#network.open({
      node: workerId,
      to: { port: lanePort },
      dialer: head => this.#dialerOf(head),
    })
    return {
      join: `${protocol}//${control.host}:${control.port}`,
      flags: ['--no-local-lanes', '--port', String(lanePort), '--advertise', `${lanes.host}:${lanes.port}`],
      close: async () => {
        await Promise.all([control.close(), lanes.close()])
      },
    }
  }

  edge(from: string, to: string): Edge {
    return this.#network.edge(from, to)
  }

  /** Cuts a node off: both ways, or only what it sends. Returns what heals it. */
  cut(node: string, peers: readonly string[], { isOneWay = false } = {}): () => void {
    const heals = peers.flatMap(peer => [
      this.edge(node, peer).cut(),
      ...(isOneWay ? [] : [this.edge(peer, node).cut()]),
    ])
    return () => {
      for (const heal of heals) heal()
    }
  }

  /** What this worker sends to its peers. */
  frames(workerId: string): FrameWatch {
    let watch = this.#watches.get(workerId)
    if (watch === undefined) {
      watch = new FrameWatch()
      this.#watches.set(workerId, watch)
    }
    return watch
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#network[Symbol.asyncDispose]()
  }

  async #dialerOf(head: string): Promise<string> {
    // Whoever asks for state has no rank yet.
    const asking = /^x-skein-worker: *(\S+)$/im.exec(head)?.[1]
    if (asking !== undefined) return decodeURIComponent(asking)
    const generation = Number(/^x-skein-generation: *(\d+)$/im.exec(head)?.[1])
    const rank = Number(/^x-skein-from: *(\d+)$/im.exec(head)?.[1])
    const members = await this.#membersOf(generation).promise
    const workerId = members.get(rank)
    if (workerId === undefined) throw new RangeError(`generation ${generation} has no rank ${rank}`)
    return workerId
  }

  #membersOf(generation: number): Deferred<ReadonlyMap<number, string>> {
    let members = this.#generations.get(generation)
    if (members === undefined) {
      members = deferred()
      this.#generations.set(generation, members)
    }
    return members
  }
}

/** One that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = net.createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
