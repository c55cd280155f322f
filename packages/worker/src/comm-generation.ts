import { createGroup, type Group, type GroupAnswer, type GroupRequest, GroupServer } from '@skein/collective'
import { connectGroup, EagerLoop, eagerMs } from '@skein/collective/node'
import { type SkeinError, systemClock } from '@skein/core'
import type { Region, Simd } from '@skein/simd'
import type { Logger } from '@skein/telemetry'
import { isSameHost, type LaneDoor, type LaneKind, type LaneServer } from '@skein/transport'
import { BusyTime } from './busy-time.ts'
import type { GenerationMessage } from './generation-client.ts'
import type { CommStart } from './thread-messages.ts'

export interface CommGenerationOptions {
  readonly message: GenerationMessage
  readonly workerId: string
  readonly memory: WebAssembly.Memory
  /** The group's alone until `end`. */
  readonly scratch: Region
  readonly simd: Simd
  readonly lanes: LaneServer
  readonly laneKind: LaneKind
  readonly tls: CommStart['tls']
  /** Whether payloads over host and port are checked also where these are of this host. */
  readonly checksums: boolean
  readonly connectMs: number
  readonly cores: number
  readonly logger: Logger
  readonly post: (answer: GroupAnswer) => void
  /** The lanes with this rank are lost; called once, not after `end`. */
  readonly onPeerLost: (error: SkeinError, peerRank: number) => void
}

/** One generation in the comm thread: its lanes and its group. Ended once, with all its sockets, which no later one uses. */
export class CommGeneration {
  readonly number: number
  readonly #options: CommGenerationOptions
  readonly #group: Group
  readonly #server: GroupServer
  readonly #door: LaneDoor
  readonly #eager: EagerLoop
  readonly #busy = new BusyTime(systemClock)
  readonly #ending = new AbortController()
  #bytesTaken = 0
  #opsEntered = 0

  /** Opens the door for the peers that dial; call `connect` at once. */
  constructor(options: CommGenerationOptions) {
    const { message, workerId, memory, simd, scratch, lanes, cores } = options
    const { generation, members, laneToken } = message
    const me = members.find(member => member.workerId === workerId)
    if (me === undefined) throw new Error(`worker ${workerId} is not in generation ${generation}`)
    this.number = generation
    this.#options = options
    const worldSize = members.length
    this.#group = createGroup({
      rank: me.rank,
      worldSize,
      generation,
      memory,
      simd,
      scratch,
      clock: systemClock,
      onFailure: (error, peer) => options.onPeerLost(error, peer),
    })
    this.#server = new GroupServer(this.#group, answer => this.#answer(answer))
    const onHost = members.filter(member => member.lane.host === me.lane.host).length
    this.#eager = new EagerLoop(eagerMs(onHost, cores))
    this.#door = lanes.open({ generation, rank: me.rank, worldSize, token: laneToken })
  }

  /** The last ops, those that were ended by a failure too. */
  flightReport(): ReturnType<Group['flightReport']> {
    return this.#group.flightReport()
  }

  /** Whether a collective is under way. */
  get isBusy(): boolean {
    return this.#busy.isBusy
  }

  /** Collectives that were begun. */
  get opsEntered(): number {
    return this.#opsEntered
  }

  /** Dials a lane from every peer (the receiver dials) and waits for theirs. @throws SKEIN_COLLECTIVE_UNREACHABLE */
  async connect(): Promise<void> {
    const { message, workerId, laneKind, tls, checksums, connectMs, logger } = this.#options
    const { generation, members, laneToken } = message
    const own = members.find(member => member.workerId === workerId)?.lane.local?.hostId
    await connectGroup(this.#group, {
      door: this.#door,
      addresses: members.map(({ lane: { host, port, local } }) => ({
        host,
        port,
        ...(local !== undefined && isSameHost(local.hostId, own) ? { path: local.path } : {}),
      })),
      token: laneToken,
      kind: laneKind,
      ...(tls === undefined ? {} : { tls }),
      ...(checksums ? { checksums } : {}),
      timeoutMs: connectMs,
      signal: this.#ending.signal,
    })
    logger.info({ generation, rank: this.#group.rank, worldSize: members.length }, 'generation.connected')
  }

  serve(request: GroupRequest): void {
    if (request.type === 'op') {
      this.#busy.enter()
      this.#opsEntered++
    }
    this.#eager.during(this.#server.receive(request))
  }

  /** Time in collectives and bytes sent since the last call. */
  takeCosts(): { readonly commMs: number; readonly bytesSent: number } {
    const { bytesSent } = this.#group
    const sent = bytesSent - this.#bytesTaken
    this.#bytesTaken = bytesSent
    return { commMs: this.#busy.take(), bytesSent: sent }
  }

  /** Every op ends with `error`, every socket is closed. Idempotent. */
  end(error: SkeinError): void {
    if (this.#ending.signal.aborted) return
    this.#ending.abort(error)
    this.#group.abort(error)
    this.#group.close()
    this.#door.close()
  }

  #answer(answer: GroupAnswer): void {
    this.#busy.leave()
    if (answer.type === 'op-done') {
      const { opSeq, kind: op, elems, durMs, waitMs, bytesSent: bytes } = answer.result
      this.#options.logger.debug({ opSeq, op, elems, durMs, waitMs, bytes }, 'op.done')
    }
    this.#options.post(answer)
  }
}
