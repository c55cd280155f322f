import type { Socket } from 'node:net'

/** Of silence, before the system asks whether the other host is still there. */
export const keepAliveMs = 30_000

/**
 * Has the system ask after the peer of a lane that is silent. A lane has no heartbeat, and one who only receives never writes: without this, a
 * host that loses its power, or its cable, is waited for without end. libuv asks ten times, a second apart, so such a lane breaks (ETIMEDOUT) after
 * 40 s. A worker that hangs is not found so: its system answers for it. Does nothing on a Unix socket.
 */
export function keepAlive(socket: Socket): void {
  socket.setKeepAlive(true, keepAliveMs)
}
