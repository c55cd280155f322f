import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { rank, systemClock } from '@skein/core'
import { type Logger, nullLogger } from '@skein/telemetry'
import { guardOf, type HttpServer } from './connection-guard.ts'
import { LaneDoor, type LaneDoorOptions } from './lane-door.ts'
import { laneProofNames, type LaneProof, parseLaneProof } from './lane-proof.ts'
import { type LaneRequest, lanePath, parseLaneRequest, rawLaneProtocol } from './lane-request.ts'
import { RawLaneWriter } from './raw-lane-writer.ts'
import { type Refusal, refuseUpgrade } from './refusal.ts'
import { Strangers } from './strangers.ts'
import { certificateRefusal } from './tls-identity.ts'
import { routeUpgrade } from './upgrade-routes.ts'
import { webSocketServer } from './web-sockets.ts'
import { WsLaneWriter } from './ws-lane-writer.ts'

export interface LaneServerOptions {
  /** How long a dialer of a generation that is not open here yet is held, in ms; default 10 s. */
  readonly holdMs?: number
  /** Dialers held at a time; one more refuses the oldest of the address with most of them. Default 256. */
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
  readonly shown: LaneProof
  readonly socket: Socket
  readonly head: Buffer
  /** Stops waiting: timer and listener are gone. */
  readonly release: () => void
}

/** Serves lanes on `/lane` of `server`, which stays the caller's. */
export function attachLanes(server: HttpServer, options: LaneServerOptions = {}): LaneServer {
  const { holdMs = 10_000, maxHeld = 256, logger = nullLogger } = options
  // Nothing is received on these, so nothing may be large.
  const wss = webSocketServer(125)
  /** For the handshakes that `wss` is about to answer. */
  const answers = new WeakMap<IncomingMessage, string>()
  wss.on('headers', (headers, request) => headers.push(`${laneProofNames.answer}: ${answers.get(request) ?? ''}`))
  const guard = guardOf(server)
  /** By generation and group. */
  const doors = new Map<string, LaneDoor>()
  const held = new Strangers<Held>(maxHeld)
  let newest = -1
  let isClosed = false

  const refuse = (socket: Socket, refusal: Refusal, asked?: LaneRequest) => {
    guard.refuse(socket, refusal.reason, { ...asked, why: refusal.why })
    refuseUpgrade(socket, refusal)
  }

  const admit = (door: LaneDoor, { request, asked, shown, socket, head }: Omit<Held, 'release'>) => {
    const refusal = door.refusalOf(asked, shown)
    if (refusal !== undefined) return refuse(socket, refusal, asked)
    if (head.length > 0) return refuse(socket, bytesBehind, asked)
    guard.letIn(socket)
    const answer = door.answerTo(asked, shown)
    const { from: peer, kind, generation, group, channel } = asked
    const medium = { remote: socket.remoteAddress, tls: socket instanceof TLSSocket ? socket.getProtocol() : undefined }
    logger.debug({ generation, group, rank: door.rank, peer, kind, channel, ...medium }, 'lane.opened')
    if (kind === 'ws') {
      answers.set(request, answer)
      wss.handleUpgrade(request, socket, head, ws => door.add(new WsLaneWriter(ws, rank(peer)), channel))
      return
    }
    socket.write(acceptance(answer))
    door.add(new RawLaneWriter(socket, rank(peer)), channel)
  }

  const hold = (waiting: Omit<Held, 'release'>) => {
    const { asked, socket } = waiting
    const release = () => {
      clearTimeout(timer)
      socket.off('close', release)
      socket.off('end', leave)
      held.remove(entry)
    }
    const timer = setTimeout(() => {
      release()
      refuse(
        socket,
        { status: 503, reason: 'slow', why: `generation ${asked.generation} did not begin here within ${holdMs} ms` },
        asked,
      )
    }, holdMs)
    const leave = () => socket.destroy()
    const entry: Held = { ...waiting, release }
    guard.letIn(socket) // held within bounds of their own
    const outgoing = held.add(entry, socket.remoteAddress ?? '', systemClock.now())
    outgoing?.release()
    if (outgoing !== undefined) refuse(outgoing.socket, tooManyHeld, outgoing.asked)
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
      refuseUpgrade(waiting.socket, { status: 503, why: 'this worker is closing' })
    }
    for (const door of doors.values()) door.close()
    wss.close()
  }
  const detach = routeUpgrade(
    server,
    lanePath,
    (request, socket, head) => {
      const asked = parseLaneRequest(request)
      const uncertified = certificateRefusal(request)
      if (uncertified !== undefined) return refuse(socket, uncertified)
      if ('status' in asked) return refuse(socket, asked)
      const shown = parseLaneProof(request.headers)
      if (shown === undefined) return refuse(socket, noProof, asked)
      const door = doors.get(keyOf(asked.generation, asked.group))
      if (door !== undefined) admit(door, { request, asked, shown, socket, head })
      else if ((asked.generation > newest || mayOpen(asked)) && !isClosed) hold({ request, asked, shown, socket, head })
      else refuse(socket, over(asked.generation), asked)
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
        else refuse(waiting.socket, over(wanted), waiting.asked)
      }
      return door
    },
    close,
  }
}

const noProof: Refusal = { status: 401, reason: 'noToken', why: 'a lane needs a proof of its token' }
const bytesBehind: Refusal = { status: 400, reason: 'badRequest', why: 'bytes after the request' }
const tooManyHeld: Refusal = { status: 503, reason: 'tooMany', why: 'too many dialers are waiting' }

function over(generation: number): Refusal {
  return { status: 409, reason: 'otherLane', why: `generation ${generation} is over here` }
}

/** The answer that opens a raw lane. */
function acceptance(answer: string): string {
  const lines = ['Connection: Upgrade', `Upgrade: ${rawLaneProtocol}`, `${laneProofNames.answer}: ${answer}`]
  return `HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`
}

const keyOf = (generation: number, group: number) => `${generation} ${group}`
