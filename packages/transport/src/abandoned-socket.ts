import fs from 'node:fs'
import net from 'node:net'
import { errnoOf } from './close-reason.ts'

/** Within one host; who takes longer to answer is there. */
const answerMs = 1_000

/**
 * Removes the socket file of a process that was killed before it could: nobody listens there any more, yet the file keeps everyone from listening
 * again. False, and nothing removed, where somebody does, or might, or where the file is none of a socket.
 */
export async function removeAbandonedSocket(path: string): Promise<boolean> {
  const found = socketFile(path)
  if (found === undefined || (await connectErrno(path)) !== 'ECONNREFUSED') return false
  // Another one that starts at the same time may have put its own there meanwhile.
  const now = socketFile(path)
  if (now?.ino !== found.ino || now.ctimeNs !== found.ctimeNs) return false
  fs.rmSync(path, { force: true })
  return true
}

function socketFile(path: string): fs.BigIntStats | undefined {
  if (path.includes('\0')) return undefined // of Linux's abstract names, which go with their process
  const stats = fs.lstatSync(path, { bigint: true, throwIfNoEntry: false })
  return stats?.isSocket() === true ? stats : undefined
}

/** Why nobody answers; undefined where somebody does, or nothing is known in time. */
function connectErrno(path: string): Promise<string | undefined> {
  return new Promise(resolve => {
    const socket = net.connect({ path, timeout: answerMs })
    const end = (errno?: string) => {
      socket.destroy()
      resolve(errno)
    }
    socket.once('connect', () => end())
    socket.once('timeout', () => end())
    socket.on('error', error => end(errnoOf(error)))
  })
}
