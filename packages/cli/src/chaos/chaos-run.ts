import { deferred, sleep, within } from '@skein/core'
import type { Child } from '../launch/child.ts'
import type { RunEvent } from '../run-event.ts'
import { fillDisk, tearNewest, untilSaved } from './checkpoint-faults.ts'
import { Cluster, type ClusterOptions } from './cluster.ts'
import { coordinatorNode } from './cluster-network.ts'
import { type Fault, needsCheckpoints, needsNetwork } from './faults.ts'
import type { FrameHit } from './frame-watch.ts'

export interface ChaosOptions extends Omit<ClusterOptions, 'network' | 'canJump'> {
  readonly seed: number
  readonly faults: readonly Fault[]
  /** `target`: whom it was done to. */
  readonly onFault: (fault: Fault, target: string) => void
  /** What it took away is back. */
  readonly onOver: (fault: Fault) => void
  /** What a fault was to leave as it was, and did not. */
  readonly onProblem: (problem: string) => void
  readonly timeoutMs: number
  /** Ends the run, and everything of it. */
  readonly signal?: AbortSignal
}

const stormSize = 4
const flaps = 3
const longestAwayMs = 3_000
const hourMs = 3_600_000
/** Crawls, beside links within one machine. */
const slowLink = { rateMbit: 20, delayMs: 20, jitterMs: 5 }

/** Does faults to a run of real processes as its steps are committed. Whatever is taken away comes back, so that the run can end. */
export class ChaosRun {
  readonly #options: ChaosOptions
  #cluster: Cluster | undefined
  #names = 0
  #nextFault = 0
  #fullDisks = Promise.resolve()
  #restarts = Promise.resolve()
  /** How many events there were when a checkpoint was last torn: those of before may be the torn one, or gone. */
  #lastTorn = 0

  constructor(options: ChaosOptions) {
    this.#options = options
  }

  /** Resolves with the run's last event. @throws SKEIN_TIMEOUT when it does not end */
  async play(): Promise<RunEvent> {
    const { workers, timeoutMs, runDir, seed, faults, signal } = this.#options
    const early: RunEvent[] = []
    await using cluster = await Cluster.start({
      ...this.#options,
      ...(faults.some(needsNetwork) ? { network: { seed } } : {}),
      canJump: faults.some(({ kind }) => kind === 'clock'),
      onEvent: event => {
        if (this.#cluster === undefined) early.push(event)
        else this.#onEvent(this.#cluster, event)
      },
    })
    this.#cluster = cluster
    this.#names = workers
    for (const event of early) this.#onEvent(cluster, event)
    const bound = { what: 'the run to end', timeoutMs, todo: `read ${runDir}/logs` }
    return await within(cluster.ended, { ...bound, ...(signal === undefined ? {} : { signal }) })
  }

  /** All faults that are due at this step. */
  #onEvent(cluster: Cluster, event: RunEvent): void {
    this.#options.onEvent?.(event)
    if (event.event !== 'step') return
    const { faults } = this.#options
    for (
      let fault = faults[this.#nextFault];
      fault !== undefined && fault.atStep <= Number(event['step']);
      fault = faults[this.#nextFault]
    ) {
      this.#nextFault++
      cluster.own(this.#carryOut(cluster, fault))
    }
  }

  async #carryOut(cluster: Cluster, fault: Fault): Promise<void> {
    const target = targetOf(cluster, fault)
    if (target === undefined) return
    const { name, child } = target
    if (needsCheckpoints(fault)) await untilSaved(cluster, { timeoutMs: this.#options.timeoutMs })
    const hit = await this.#place(cluster, fault, name)
    this.#options.onFault(fault, name)
    await this.#do(cluster, fault, name, child, hit)
    this.#options.onOver(fault)
  }

  /** Waits for the frame that a fault is to be done at. */
  async #place(cluster: Cluster, { kind, place }: Fault, name: string): Promise<FrameHit | undefined> {
    const { network, closing } = cluster
    if (network === undefined || (place === undefined && kind !== 'corrupt')) return undefined
    const found = deferred<FrameHit>()
    const disarm = network.frames(name).arm(place ?? {}, hit => {
      // In the call of the tap: a moment later the frame is on its way.
      if (kind === 'corrupt') hit.corrupt()
      else if (kind !== 'slow') hit.stop()
      found.resolve(hit)
    })
    const end = () => found.reject(closing.reason)
    closing.addEventListener('abort', end, { once: true })
    return found.promise.finally(() => {
      disarm()
      closing.removeEventListener('abort', end)
    })
  }

  /** The coordinator dies and is away for a while; one death after the other. */
  async #restart(cluster: Cluster, { kind, forMs }: Fault, start: () => Promise<void>): Promise<void> {
    this.#restarts = this.#restarts.then(async () => {
      if (kind === 'torn') await untilSaved(cluster, { from: this.#lastTorn, timeoutMs: this.#options.timeoutMs })
      cluster.coordinator?.killNow()
      await cluster.coordinator?.exited
      await sleep(Math.min(forMs, longestAwayMs), cluster.closing)
      await start()
    })
    await this.#restarts
  }

  #tell(problems: readonly string[]): void {
    for (const problem of problems) this.#options.onProblem(problem)
  }

  async #do(
    cluster: Cluster,
    fault: Fault,
    name: string,
    child: Child | undefined,
    hit: FrameHit | undefined,
  ): Promise<void> {
    const { network } = cluster
    const back = () => sleep(fault.forMs, cluster.closing)
    const next = () => `w${this.#names++}`
    switch (fault.kind) {
      case 'kill':
        child?.killNow()
        await back()
        await cluster.startWorker(name)
        break
      case 'stop':
        child?.signal('SIGSTOP')
        await back()
        child?.signal('SIGCONT')
        break
      case 'leave':
        child?.signal('SIGTERM')
        await back()
        await cluster.startWorker(next())
        break
      case 'join':
        await cluster.startWorker(next())
        break
      case 'storm': {
        const some = await Promise.all(Array.from({ length: stormSize }, () => cluster.startWorker(next())))
        await back()
        for (const one of some) one.killNow()
        break
      }
      case 'flap': {
        let last = child
        for (let i = 0; i < flaps; i++) {
          last?.killNow()
          last = await cluster.startWorker(name)
          await back()
        }
        break
      }
      case 'duplicate':
        // The older one is replaced, or the two take turns until one gives up.
        await cluster.startWorker(name)
        break
      case 'coordinator':
        await this.#restart(cluster, fault, () => cluster.startCoordinator())
        break
      case 'torn':
        await this.#restart(cluster, fault, async () => {
          const how = (fault.who + fault.atStep) % 2 === 0 ? 'cut short' : 'altered'
          const { runDir, timeoutMs } = this.#options
          this.#tell(await tearNewest(cluster, { runDir, how, timeoutMs }))
          this.#lastTorn = cluster.events.length
        })
        break
      case 'disk':
        // One after the other: there is one disk.
        this.#fullDisks = this.#fullDisks.then(async () => this.#tell(await fillDisk(cluster, this.#options.timeoutMs)))
        await this.#fullDisks
        break
      case 'partition':
      case 'one-way': {
        const isOneWay = fault.kind === 'one-way'
        const peers = isOneWay || fault.peer !== undefined ? [peerOf(cluster, fault, name)] : cluster.peersOf(name)
        const heal = network?.cut(name, peers, { isOneWay })
        await back().finally(heal)
        break
      }
      case 'slow': {
        const edges = cluster.peersOf(name).flatMap(peer => network?.edge(name, peer) ?? [])
        for (const edge of edges) if (edge.to !== coordinatorNode) edge.reshape(slowLink)
        await back().finally(() => {
          for (const edge of edges) edge.reshape({})
        })
        break
      }
      case 'corrupt':
        if (hit === undefined) throw new Error('a frame is falsified when it comes by')
        break
      case 'clock': {
        const aheadMs = fault.who % 2 === 0 ? hourMs : -hourMs
        for (const node of [name, coordinatorNode]) cluster.jump(node, aheadMs)
        await back()
        for (const node of [name, coordinatorNode]) cluster.jump(node, 0)
        break
      }
    }
  }
}

interface Target {
  readonly name: string
  readonly child?: Child
}

/** Whom a fault is done to; undefined: nobody is there for it. */
function targetOf(cluster: Cluster, { kind, workerId, rank, who }: Fault): Target | undefined {
  if (kind === 'coordinator' || kind === 'torn') return { name: 'coordinator' }
  if (kind === 'disk') return { name: 'disk' }
  if (kind === 'join' || kind === 'storm') return { name: 'new' }
  const alive = [...cluster.workers].filter(([, child]) => child.running).toSorted(([a], [b]) => (a < b ? -1 : 1))
  const byRank = rank === undefined ? undefined : nameOfRank(cluster, rank)
  const wanted = workerId ?? byRank
  const found = alive.find(([name]) => name === wanted) ?? alive[who % Math.max(1, alive.length)]
  return found === undefined ? undefined : { name: found[0], child: found[1] }
}

function nameOfRank({ events }: Cluster, rank: number): string | undefined {
  const members = events.findLast(event => event.event === 'generation')?.['members']
  return (members as readonly { readonly workerId: string; readonly rank: number }[] | undefined)?.find(
    member => member.rank === rank,
  )?.workerId
}

/** The other end of a link of this worker. */
function peerOf(cluster: Cluster, { peer }: Fault, name: string): string {
  if (peer === 'coordinator') return coordinatorNode
  if (peer !== undefined) return peer
  const alive = [...cluster.workers].filter(([, child]) => child.running).map(([one]) => one)
  return alive[(alive.indexOf(name) + 1) % alive.length] ?? coordinatorNode
}
