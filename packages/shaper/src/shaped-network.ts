import { once } from 'node:events'
import net from 'node:net'
import { seededRandom } from '@skein/core'
import { Edge } from './edge.ts'
import { readHead } from './read-head.ts'
import { ShapedPipe, type Tap } from './shaped-pipe.ts'

export interface NetworkOptions {
  /** Of jitter. */
  readonly seed: number
  /** Makes a tap for each connection, for each of its directions. */
  readonly tap?: (edge: Edge) => Tap | undefined
}

export interface NetworkPortOptions {
  /** The node that listens, and where it really does. */
  readonly node: string
  readonly to: { readonly host?: string; readonly port: number }
  /**
   * The node that dials: its name, where only one does; else found from the head of its request (text up to the first empty line). Nothing
   * passes before it is known; a dialer of whom it rejects is reset.
   */
  readonly dialer: string | ((head: string) => Promise<string>)
}

/** A port that stands for a node's own. Owns its connections. */
export interface NetworkPort {
  readonly host: string
  readonly port: number
  /** Idempotent. */
  close(): Promise<void>
}

/**
 * Nodes by name and the links between them, in this process: whoever dials a node dials its port here. Each direction of each pair is an
 * `Edge` that can be cut, slowed and watched while connections run over it, and that later connections find as it is.
 *
 * A cut is one of a network: nothing arrives, neither data nor the end of a connection, and what was sent arrives when it is healed,
 * unless its connection has broken meanwhile. So neither end learns of a cut by anything but silence.
 */
export class ShapedNetwork implements AsyncDisposable {
  readonly #seed: number
  readonly #tap: NetworkOptions['tap']
  readonly #edges = new Map<string, Edge>()
  readonly #ports = new Set<NetworkPort>()
  #numConnections = 0

  constructor({ seed, tap }: NetworkOptions) {
    this.#seed = seed
    this.#tap = tap
  }

  /** The direction from one node to another. */
  edge(from: string, to: string): Edge {
    const key = JSON.stringify([from, to])
    let edge = this.#edges.get(key)
    if (edge === undefined) {
      edge = new Edge(from, to)
      this.#edges.set(key, edge)
    }
    return edge
  }

  /** @throws an error of Node when it cannot listen */
  async open({ node, to, dialer }: NetworkPortOptions): Promise<NetworkPort> {
    const resets = new Set<() => void>()
    const server = net.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, near => {
      const giveUp = () => near.destroy()
      near.on('error', giveUp)
      resets.add(giveUp)
      near.once('close', () => resets.delete(giveUp))
      this.#identify(near, dialer)
        .then(name => {
          if (near.destroyed) return
          near.off('error', giveUp)
          const reset = this.#join(near, to, name, node)
          resets.add(reset)
          near.once('close', () => resets.delete(reset))
        })
        .catch(() => near.resetAndDestroy())
    })
    server.listen({ host: '127.0.0.1', port: 0 })
    await once(server, 'listening')
    let closing: Promise<void> | undefined
    const close = async () => {
      const closed = once(server, 'close')
      server.close()
      for (const reset of resets) reset()
      await closed
    }
    const { address, port } = server.address() as net.AddressInfo
    const opened: NetworkPort = {
      host: address,
      port,
      close: () => {
        this.#ports.delete(opened)
        closing ??= close()
        return closing
      },
    }
    this.#ports.add(opened)
    return opened
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(Array.from(this.#ports, port => port.close()))
  }

  async #identify(near: net.Socket, dialer: NetworkPortOptions['dialer']): Promise<string> {
    return typeof dialer === 'string' ? dialer : dialer(await readHead(near))
  }

  /** Two sockets, and a pipe for each direction. Returns what breaks both. */
  #join(near: net.Socket, to: NetworkPortOptions['to'], dialer: string, node: string): () => void {
    const far = net.connect({ host: '127.0.0.1', ...to, allowHalfOpen: true, noDelay: true })
    const index = this.#numConnections++
    const there = this.edge(dialer, node)
    const back = this.edge(node, dialer)
    const breakAll = () => {
      for (const socket of [near, far]) socket.resetAndDestroy()
    }
    const pipe = (from: net.Socket, target: net.Socket, edge: Edge, direction: number) =>
      new ShapedPipe(from, target, edge.shape, seededRandom(this.#seed, index, direction), breakAll, this.#tap?.(edge))
    const ways = [
      { edge: there, pipe: pipe(near, far, there, 0), from: near, to: far },
      { edge: back, pipe: pipe(far, near, back, 1), from: far, to: near },
    ]
    for (const way of ways) {
      const leave = way.edge.add(way.pipe)
      // The other end hears of a break when the way to it is open; an end in good order travels in the pipe.
      const broken = () => {
        way.pipe.close()
        void way.edge.whenWhole().then(() => way.to.resetAndDestroy())
      }
      way.from.on('error', broken)
      way.from.once('close', () => {
        if (!way.from.readableEnded) broken()
      })
      way.to.once('close', () => {
        way.pipe.close()
        leave()
      })
    }
    near.resume()
    return breakAll
  }
}
