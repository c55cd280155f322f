import type { Socket } from 'node:net'

/** Longer than any head of a request that Skein makes. */
const maxHeadBytes = 8 * 1024

/**
 * The head of the HTTP request that a socket begins with, up to its empty line. All that was read is put back: the socket is paused as it came.
 * Rejects when it ends or breaks before, or has none within 8 KiB.
 */
export function readHead(socket: Socket): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  let bytes = Buffer.alloc(0)
  const onData = (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk])
    const end = bytes.indexOf('\r\n\r\n')
    if (end >= 0) resolve(bytes.toString('latin1', 0, end))
    else if (bytes.length > maxHeadBytes) reject(new RangeError(`no head of a request in ${bytes.length} bytes`))
  }
  const onEnd = () => reject(new Error('the connection ended before its request'))
  socket.on('data', onData)
  socket.once('end', onEnd)
  socket.once('close', onEnd)
  socket.resume()
  return promise.finally(() => {
    socket.off('data', onData)
    socket.off('end', onEnd)
    socket.off('close', onEnd)
    socket.pause()
    if (!socket.destroyed) socket.unshift(bytes)
  })
}
