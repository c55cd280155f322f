/**
 * A bad network inside one process: a TCP proxy with a rate, a delay, jitter and a bounded queue, that stalls, cuts or corrupts at a
 * byte of one's choice. For tests and demonstrations, of lanes, control links or any other program; benches use real links
 * (`scripts/shaped-link.mjs`), because this one shares the process's event loop and knows whole milliseconds only.
 *
 * @example
 * await using proxy = await shapeProxy({ to: { port }, rateMbit: 100, delayMs: 20, cutAt: 1_000_000, seed })
 * const reader = await dialLane({ host: proxy.host, port: proxy.port, ... })
 * console.log((await reader.closed).kind)   // 'reset', in place of byte 1,000,000
 */
export { Edge } from './edge.ts'
export { ShaperErrors } from './errors.ts'
export { LinkModel, type LinkShape } from './link-model.ts'
export { type ProxyTarget, type ShapedProxy, shapeProxy, type ShapeProxyOptions } from './shape-proxy.ts'
export { type NetworkOptions, type NetworkPort, type NetworkPortOptions, ShapedNetwork } from './shaped-network.ts'
export type { Faults, ShapedPipe, Tap } from './shaped-pipe.ts'
