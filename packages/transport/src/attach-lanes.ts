import type { IncomingMessage, Server } from 'node:http'
import type { Socket } from 'node:net'
import { rank } from '@skein/core'
import { type Logger, nullLogger } from '@skein/telemetry'
import { hasToken } from './bearer.ts'
import { LaneDoor, type LaneDoorOptions } from './lane-door.ts'
import { type LaneRequest, lanePath, parseLaneRequest, rawLaneProtocol } from './lane-request.ts'
import { RawLaneWriter } from './raw-lane-writer.ts'
import { type Refusal, refuseUpgrade } from './refusal.ts'
import { routeUpgrade } from './upgrade-routes.ts'
import { webSocketServer } from './web-sockets.ts'
import { WsLaneWriter } from './ws-lane-writer.ts'

export interface LaneServerOptions {
  /** How long a dialer of a generation that is not open here yet is held, in ms; default 10 s. */
  readonly holdMs?: number
  /** Dialers held at a time; more are refused. Default 256. */
  readonly maxHeld?: number
  readonly logger?: Logger
}

/** The lanes of one port. */
export interface LaneServer {
  /**
   * Takes the dialers of one group of a generation: held ones at once, others as they come. An earlier generation's door stays until it is
   * closed, but a generation older than the newest one is not taken anew.
   */
  open(options: LaneDoorOptions): LaneDoor
  /** Closes every door and refuses everyone; idempotent. */
  close(): void
}

interface Held {
  readonly request: IncomingMessage
  readonly asked: LaneRequest
  readonly socket: Socket
  readonly head: Buffer
  /** Stops waiting: timer and listener are gone. */
  readonly release: () => void
}

/** Serves lanes on `/lane` of `server`, which stays the caller's. */
export function attachLanes(server: Server, options: LaneServerOptions = {}): LaneServer {
  const { holdMs = 10_000, maxHeld = 256, logger = nullLogger } = options
  // Nothing is received on these, so nothing may be large.
  const wss = webSocketServer(125)
  /** By generation and group. */
  const doors = new Map<string, LaneDoor>()
  const held = new Set<Held>()
  let newest = -1
  let isClosed = false

  const refuse = (socket: Socket, refusal: Refusal, asked?: LaneRequest) => {
    logger.warn({ ...asked, status: refusal.status, reason: refusal.why, remote: socket.remoteAddress }, 'lane.refused')
    refuseUpgrade(socket, refusal)
  }

  const admit = (door: LaneDoor, { request, asked, socket, head }: Omit<Held, 'release'>) => {
    if (!hasToken(request, door.token)) {
      return refuse(socket, { status: 401, why: 'the lane token is missing or wrong' }, asked)
    }
    const refusal = head.length > 0 ? { status: 400 as const, why: 'bytes after the request' } : door.refusalOf(asked)
    if (refusal !== undefined) return refuse(socket, refusal, asked)
    const { from: peer, kind, generation, group, channel } = asked
    logger.debug({ generation, group, rank: door.rank, peer, kind, channel }, 'lane.opened')
    if (kind === 'ws') {
      wss.handleUpgrade(request, socket, head, ws => door.add(new WsLaneWriter(ws, rank(peer)), channel))
      return
    }
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${rawLaneProtocol}\r\n\r\n`)
    door.add(new RawLaneWriter(socket, rank(peer)), channel)
  }

  const hold = (waiting: Omit<Held, 'release'>) => {
    const { asked, socket } = waiting
    if (held.size >= maxHeld) return refuse(socket, { status: 503, why: 'too many dialers are waiting' }, asked)
    const release = () => {
      clearTimeout(timer)
      socket.off('close', release)
      socket.off('end', leave)
      held.delete(entry)
    }
    const timer = setTimeout(() => {
      release()
      refuse(
        socket,
        { status: 503, why: `generation ${asked.generation} did not begin here within ${holdMs} ms` },
        asked,
      )
    }, holdMs)
    const leave = () => socket.destroy()
    const entry: Held = { ...waiting, release }
    held.add(entry)
    socket.on('close', release)
    // A dialer has nothing to say before it is answered, but may go away.
    socket.on('end', leave)
    socket.resume()
  }

  /** Whether the group may still be opened: another one of the newest generation than that of all members. */
  const mayOpen = ({ generation, group }: LaneRequest) => generation === newest && group > 0

  const close = () => {
    isClosed = true
    detach()
    for (const waiting of held) {
      waiting.release()
      refuse(waiting.socket, { status: 503, why: 'this worker is closing' }, waiting.asked)
    }
    for (const door of doors.values()) door.close()
    wss.close()
  }
  const detach = routeUpgrade(
    server,
    lanePath,
    (request, socket, head) => {
      const asked = parseLaneRequest(request)
      if ('status' in asked) return refuse(socket, asked)
      const door = doors.get(keyOf(asked.generation, asked.group))
      if (door !== undefined) admit(door, { request, asked, socket, head })
      else if ((asked.generation > newest || mayOpen(asked)) && !isClosed) hold({ request, asked, socket, head })
      else refuse(socket, { status: 409, why: `generation ${asked.generation} is over here` }, asked)
    },
    close,
  )

  return {
    open(doorOptions) {
      const { generation, group = 0 } = doorOptions
      const key = keyOf(generation, group)
      const door = new LaneDoor(doorOptions, () => {
        if (doors.get(key) === door) doors.delete(key)
      })
      newest = Math.max(newest, generation)
      doors.set(key, door)
      for (const waiting of held) {
        const { generation: wanted } = waiting.asked
        const isHere = wanted === generation && waiting.asked.group === group
        if (wanted > newest || (!isHere && mayOpen(waiting.asked))) continue
        waiting.release()
        if (isHere) admit(door, waiting)
        else refuse(waiting.socket, { status: 409, why: `generation ${wanted} is over here` }, waiting.asked)
      }
      return door
    },
    close,
  }
}

const keyOf = (generation: number, group: number) => `${generation} ${group}`
