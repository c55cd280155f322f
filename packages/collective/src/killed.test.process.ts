/**
 * One rank of killed.test.ts: `node killed.test.process.js '{"rank":0,…}'`. Makes one small all-reduce after the other; the victim kills
 * itself with SIGKILL right before it sends a given frame. The others print the error that they got and when.
 */
import fs from 'node:fs'
import path from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { asSkeinError, sleep } from '@skein/core'
import { attachLanes, listen } from '@skein/transport'
import { groupAlone } from './group-alone.test.support.ts'
import { connectGroup } from './node/connect-group.ts'

export interface VictimOptions {
  readonly rank: number
  readonly ranks: number
  /** Of the sockets. */
  readonly folder: string
  readonly victim: number
  /** Frames the victim sends before it dies. */
  readonly killAt: number
}

const { rank, ranks, folder, victim, killAt } = JSON.parse(process.argv[2] ?? '') as VictimOptions
const say = (line: unknown) => fs.writeSync(1, `${JSON.stringify(line)}\n`)
const segmentBytes = 64
const { arena, group } = groupAlone({ rank, ranks, segmentBytes, tensorBytes: 65_536 })
const socketOf = (of: number) => path.join(folder, `${of}.sock`)
const listener = await listen({ path: socketOf(rank) })
const door = attachLanes(listener.server).open({ generation: 1, rank, worldSize: ranks, token: 'kill' })
// A socket's file is there before it listens, so that it does is said by another one.
const listensOf = (of: number) => path.join(folder, `${of}.listens`)
fs.writeFileSync(listensOf(rank), '')
for (let of = 0; of < ranks; of++) while (!fs.existsSync(listensOf(of))) await sleep(5)
const addresses = Array.from({ length: ranks }, (_, of) => ({ host: 'localhost', port: 0, path: socketOf(of) }))
let sent = 0
let isArmed = false
const lane = door.lane.bind(door)
door.lane = async (...args) => {
  const writer = await lane(...args)
  const send = writer.send.bind(writer)
  writer.send = (header, payload) => {
    if (rank === victim && isArmed && sent++ === killAt) {
      say({ killedAt: Date.now() })
      process.kill(process.pid, 'SIGKILL')
    }
    return send(header, payload)
  }
  return writer
}
await connectGroup(group, { door, addresses, token: 'kill', timeoutMs: 10_000 })
const { byteOffset } = arena.alloc('values', 192 * 4)
/** For how long the machine did not run this process although it could go on. */
const lateness = monitorEventLoopDelay({ resolution: 5 })
try {
  // All are here: what follows is about their ops, not about how they start.
  await group.barrier()
  isArmed = true
  lateness.enable()
  for (;;) await group.allReduce({ byteOffset, elems: 192, dtype: 'float32' }, { algorithm: 'ring' })
} catch (thrown) {
  const { code, details, message } = asSkeinError(thrown)
  say({ code, details, message, at: Date.now(), lateMs: lateness.max / 1e6 })
}
group.close()
await listener.close()
