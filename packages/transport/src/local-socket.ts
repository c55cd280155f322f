import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import tls from 'node:tls'
import type { HttpServer } from './connection-guard.ts'

/** Longest path that fits into the address of a Unix socket, its closing zero not counted. */
const maxPathBytes = process.platform === 'linux' ? 107 : 103

/** A Unix socket in a folder that only this user may enter. */
export interface LocalSocket {
  readonly path: string
  /** Ends the socket and removes its folder; connections are the server's. Idempotent. */
  close(): Promise<void>
}

/**
 * Makes `server`, which listens elsewhere, serve a Unix socket too: same requests, same limits, same doors, never TLS. The folder is made in the
 * system's for temporary files, or in /tmp where that has too long a name. @throws an error of Node
 */
export async function openLocalSocket(server: HttpServer): Promise<LocalSocket> {
  const folder = fs.mkdtempSync(path.join(parentFolder(os.tmpdir()), prefix)) // mode 0700
  const remove = () => fs.rmSync(folder, { recursive: true, force: true })
  const socketPath = path.join(folder, name)
  // As http's own: a request may be answered after its sender has ended.
  // A server that speaks TLS takes this connection as one whose handshake is done.
  const arrival = server instanceof tls.Server ? 'secureConnection' : 'connection'
  const local = net.createServer({ allowHalfOpen: true }, socket => server.emit(arrival, socket))
  if (server.maxConnections !== undefined) local.maxConnections = server.maxConnections
  try {
    local.listen({ path: socketPath })
    await once(local, 'listening')
  } catch (error) {
    remove()
    throw error
  }
  local.on('error', () => undefined)
  // A process or thread that exits without closing what it owns leaves no folder either; one that is killed does.
  process.once('exit', remove)
  let isClosed = false
  return {
    path: socketPath,
    async close() {
      if (isClosed) return
      isClosed = true
      const closed = once(local, 'close')
      local.close()
      await closed
      process.off('exit', remove)
      remove()
    },
  }
}

const prefix = 'skein-'
const name = 'lanes'

/** The first of `preferred` and /tmp in which a socket's path is short enough. Six characters more are mkdtemp's. */
export function parentFolder(preferred: string): string {
  const bytes = Buffer.byteLength(path.join(preferred, `${prefix}XXXXXX`, name))
  return bytes <= maxPathBytes ? preferred : '/tmp'
}
