import { createGroup, type Group, type GroupAnswer, type GroupRequest, GroupServer } from '@skein/collective'
import { connectGroup, EagerLoop, eagerMs, type LaneAddress } from '@skein/collective/node'
import { asSkeinError, SkeinError, systemClock } from '@skein/core'
import type { Simd } from '@skein/simd'
import type { Logger } from '@skein/telemetry'
import { isSameHost, type LaneDoor, type LaneKind, type LaneServer } from '@skein/transport'
import { BusyTime } from './busy-time.ts'
import type { GenerationMessage } from './generation-client.ts'
import type { CommStart, GroupPlace, OfGroup } from './thread-messages.ts'

export interface CommGenerationOptions {
  readonly message: GenerationMessage
  readonly workerId: string
  readonly memory: WebAssembly.Memory
  /** The first is that of all members. */
  readonly groups: readonly GroupPlace[]
  readonly simd: Simd
  readonly lanes: LaneServer
  readonly laneKind: LaneKind
  readonly tls: CommStart['tls']
  /** Whether payloads over host and port are checked also where these are of this host. */
  readonly checksums: boolean
  readonly connectMs: number
  readonly peerMs: number
  readonly cores: number
  readonly logger: Logger
  readonly post: (answer: OfGroup<GroupAnswer>) => void
  /** The lanes with this rank are lost; called once, not after `end`. */
  readonly onPeerLost: (error: SkeinError, peerRank: number) => void
}

interface OpenGroup {
  readonly place: GroupPlace
  readonly group: Group
  readonly server: GroupServer
  readonly door: LaneDoor
}

/** One generation in the comm thread: its groups and their lanes. Ended once, with all its sockets, which no later one uses. */
export class CommGeneration {
  readonly number: number
  readonly #options: CommGenerationOptions
  readonly #groups: ReadonlyMap<number, OpenGroup>
  readonly #eager: EagerLoop
  readonly #busy = new BusyTime(systemClock)
  readonly #ending = new AbortController()
  #bytesTaken = 0
  #opsEntered = 0

  /** Opens the doors for the peers that dial; call `connect` at once. */
  constructor(options: CommGenerationOptions) {
    const { message, workerId, cores } = options
    const { generation, members } = message
    const me = members.find(member => member.workerId === workerId)
    if (me === undefined) throw new Error(`worker ${workerId} is not in generation ${generation}`)
    this.number = generation
    this.#options = options
    this.#groups = new Map(options.groups.map(place => [place.number, this.#open(place, me.rank)]))
    const onHost = members.filter(member => member.lane.host === me.lane.host).length
    this.#eager = new EagerLoop(eagerMs(onHost, cores))
  }

  /** The last ops of all members, those that were ended by a failure too. */
  flightReport(): ReturnType<Group['flightReport']> {
    return this.#groups.get(0)?.group.flightReport() ?? []
  }

  /** Whether a collective is under way. */
  get isBusy(): boolean {
    return this.#busy.isBusy
  }

  /** Collectives that were begun. */
  get opsEntered(): number {
    return this.#opsEntered
  }

  /**
   * For whom the device thread waits: the worker whose message it stands still for; nobody in particular in a collective; undefined where it
   * waits for nobody.
   */
  get waitsFor(): readonly string[] | undefined {
    for (const { place, server } of this.#groups.values()) {
      const peer = server.awaitedPeer
      if (peer === undefined) continue
      const member = this.#options.message.members[place.ranks[peer] ?? -1]
      return member === undefined ? [] : [member.workerId]
    }
    return this.isBusy ? [] : undefined
  }

  /** In each group, dials a lane from every peer (the receiver dials) and waits for theirs. @throws SKEIN_COLLECTIVE_UNREACHABLE */
  async connect(): Promise<void> {
    const { generation, members } = this.#options.message
    await Promise.all(Array.from(this.#groups.values(), open => this.#connect(open)))
    const groups = this.#groups.size
    this.#options.logger.info({ generation, worldSize: members.length, groups }, 'generation.connected')
  }

  serve({ group, ...request }: OfGroup<GroupRequest>): void {
    if (request.type === 'op') {
      this.#busy.enter()
      this.#opsEntered++
    }
    const open = this.#groups.get(group)
    if (open === undefined) throw new Error(`generation ${this.number} has no group ${group}`)
    this.#eager.during(open.server.receive(request))
  }

  /** Time in collectives and bytes sent since the last call. */
  takeCosts(): { readonly commMs: number; readonly bytesSent: number } {
    const bytesSent = Array.from(this.#groups.values()).reduce((sum, { group }) => sum + group.bytesSent, 0)
    const sent = bytesSent - this.#bytesTaken
    this.#bytesTaken = bytesSent
    return { commMs: this.#busy.take(), bytesSent: sent }
  }

  /** Every op ends with `error`, every socket is closed. Idempotent. */
  end(error: SkeinError): void {
    if (this.#ending.signal.aborted) return
    this.#ending.abort(error)
    for (const { group, server, door } of this.#groups.values()) {
      group.abort(error)
      server.close()
      group.close()
      door.close()
    }
  }

  #open(place: GroupPlace, rankOfAll: number): OpenGroup {
    const { message, memory, simd, lanes } = this.#options
    const { generation, laneToken: token } = message
    const at = { rank: place.ranks.indexOf(rankOfAll), worldSize: place.ranks.length, generation }
    const group = createGroup({
      ...at,
      memory,
      simd,
      scratch: place.scratch,
      clock: systemClock,
      onFailure: (error, peer) => this.#options.onPeerLost(error, place.ranks[peer] as number),
    })
    const onMessages = (numMessages: number, over: Promise<unknown>) => {
      this.#opsEntered += numMessages
      this.#eager.during(over)
    }
    const server = new GroupServer(group, answer => this.#answer(place.number, answer), onMessages)
    return { place, group, server, door: lanes.open({ ...at, group: place.number, token }) }
  }

  async #connect({ place, group, door }: OpenGroup): Promise<void> {
    const { message, workerId, laneKind, tls, checksums, connectMs, peerMs } = this.#options
    const { members, laneToken } = message
    const own = members.find(member => member.workerId === workerId)?.lane.local?.hostId
    try {
      await connectGroup(group, {
        door,
        addresses: place.ranks.map(rank => addressOf(members[rank] as GenerationMember, own)),
        token: laneToken,
        groupNumber: place.number,
        kind: laneKind,
        ...(tls === undefined ? {} : { tls }),
        ...(checksums ? { checksums } : {}),
        timeoutMs: connectMs,
        peerMs,
        signal: this.#ending.signal,
      })
    } catch (thrown) {
      throw inWorld(asSkeinError(thrown), place.ranks)
    }
  }

  #answer(group: number, answer: GroupAnswer): void {
    if (answer.type !== 'message-failed') this.#busy.leave()
    if (answer.type === 'op-done') {
      const { opSeq, kind: op, elems, durMs, waitMs, bytesSent: bytes } = answer.result
      this.#options.logger.debug({ group, opSeq, op, elems, durMs, waitMs, bytes }, 'op.done')
    }
    this.#options.post({ ...answer, group })
  }
}

type GenerationMember = GenerationMessage['members'][number]

/** A Unix socket where the other one is on this host. */
function addressOf({ lane: { host, port, local } }: GenerationMember, own: string | undefined): LaneAddress {
  return { host, port, ...(local !== undefined && isSameHost(local.hostId, own) ? { path: local.path } : {}) }
}

/** The error of a group with the peer's rank among all members. */
function inWorld(error: SkeinError, ranks: readonly number[]): SkeinError {
  const { peer } = error.details
  if (typeof peer !== 'number') return error
  return SkeinError.fromJSON({ ...error.toJSON(), details: { ...error.details, peer: ranks[peer] } })
}
