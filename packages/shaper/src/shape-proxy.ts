import { once } from 'node:events'
import net from 'node:net'
import { seededRandom } from '@skein/core'
import { LinkModel, type LinkShape } from './link-model.ts'
import { type Faults, faultsOf, ShapedPipe } from './shaped-pipe.ts'

/** A TCP port, on loopback where no host is given, or a Unix socket. */
export type ProxyTarget = { readonly host?: string; readonly port: number } | { readonly path: string }

export interface ShapeProxyOptions extends LinkShape, Faults {
  readonly to: ProxyTarget
  /** A Unix socket to listen on; default: a free port on loopback. */
  readonly path?: string
  /**
   * The direction that has the faults; default `to-dialer`: tensors travel so on a lane, because their receiver dials. The other
   * direction has the same rate and delay, and no faults.
   */
  readonly faultyDirection?: 'to-dialer' | 'from-dialer'
  /** The connection that has the faults, counted from 0 as they come; default: every one. */
  readonly faultyConnection?: number
  /** Of jitter and of the flipped bit; connections and directions draw from generators of their own. */
  readonly seed: number
}

/** A proxy in this process. Owns its port and every connection through it. */
export interface ShapedProxy extends AsyncDisposable {
  readonly host: string
  /** 0 where it listens on a path. */
  readonly port: number
  readonly path: string | undefined
  readonly numConnections: number
  /** Bytes read and not written, over all connections and directions. */
  readonly heldBytes: number
  /** Nothing arrives on the connections that there are, until `goOn`. */
  stall(): void
  goOn(): void
  /** Resets every connection; new ones are taken. */
  cut(): void
  /** Ends port, connections and timers; idempotent. */
  close(): Promise<void>
}

interface Connection {
  readonly pipes: readonly ShapedPipe[]
  readonly reset: () => void
  /** Both sockets are closed. */
  readonly gone: Promise<unknown>
}

/**
 * Takes connections and carries each to `to` through a link of the given shape.
 * @throws SKEIN_SHAPER_BAD_SHAPE; an error of Node when it cannot listen
 */
export async function shapeProxy(options: ShapeProxyOptions): Promise<ShapedProxy> {
  // A bad shape is the caller's to know now, not at the first connection.
  new LinkModel(options, seededRandom(options.seed))
  faultsOf(options)
  const connections = new Set<Connection>()
  let numTaken = 0
  const server = net.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, near => {
    const connection = connect(near, options, numTaken++)
    connections.add(connection)
    void connection.gone.then(() => connections.delete(connection))
  })
  server.listen(options.path === undefined ? { host: '127.0.0.1', port: 0 } : { path: options.path })
  await once(server, 'listening')
  const address = server.address()
  const cut = () => {
    for (const { reset } of connections) reset()
  }
  const each = (act: (pipe: ShapedPipe) => void) => {
    for (const { pipes } of connections) pipes.forEach(act)
  }
  let closing: Promise<void> | undefined
  const close = async () => {
    const closed = once(server, 'close')
    server.close()
    const gone = Array.from(connections, connection => connection.gone)
    cut()
    await Promise.all([closed, ...gone])
  }
  const closeOnce = () => {
    closing ??= close()
    return closing
  }
  return {
    host: '127.0.0.1',
    port: typeof address === 'object' && address !== null ? address.port : 0,
    path: options.path,
    get numConnections() {
      return connections.size
    },
    get heldBytes() {
      let bytes = 0
      each(pipe => {
        bytes += pipe.heldBytes
      })
      return bytes
    },
    stall: () => each(pipe => pipe.stall()),
    goOn: () => each(pipe => pipe.goOn()),
    cut,
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  }
}

/** Two sockets and the two pipes between them: when one breaks, both are reset, as a broken network does it. */
function connect(near: net.Socket, options: ShapeProxyOptions, index: number): Connection {
  const { to, seed, faultyDirection = 'to-dialer', faultyConnection = index } = options
  const far = net.connect({ ...('path' in to ? to : { host: '127.0.0.1', ...to }), allowHalfOpen: true, noDelay: true })
  const shapeOf = (direction: string) => {
    if (direction === faultyDirection && index === faultyConnection) return options
    const { stallAt: _, cutAt: __, corruptAt: ___, ...shape } = options
    return shape
  }
  const reset = () => {
    for (const pipe of pipes) pipe.close()
    // A Unix socket knows no reset; closed with bytes unread it is the same to the peer.
    if ('path' in to) far.destroy()
    else far.resetAndDestroy()
    if (options.path === undefined) near.resetAndDestroy()
    else near.destroy()
  }
  const pipes = [
    new ShapedPipe(near, far, shapeOf('from-dialer'), seededRandom(seed, index, 0), reset),
    new ShapedPipe(far, near, shapeOf('to-dialer'), seededRandom(seed, index, 1), reset),
  ]
  const gone = [near, far].map(socket => {
    socket.on('error', reset)
    return new Promise(resolve => socket.once('close', resolve))
  })
  near.resume()
  return { pipes, reset, gone: Promise.all(gone) }
}
