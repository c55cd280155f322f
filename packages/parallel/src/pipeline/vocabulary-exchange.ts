import type { StageTensor, VocabularyPart } from '@skein/model'
import { type Schedule, vocabularyDepth } from '@skein/schedule'
import type { Region } from '@skein/simd'
import { Exchange, exchangeBytes, type ExchangeGroup, type ExchangeKind } from './exchange.ts'
import { type PipelineMesh, rankAt } from './mesh.ts'
import { assertMessageMemory } from './message-memory.ts'

/**
 * What the ranks of a pipe give each other for a sharded vocabulary, in the order in which a microbatch comes to it: the sum of what was looked up to the
 * first stage; the last stage's output to all; what each found of its logits to all; the sum of their gradients to the last stage; the gradient
 * of what was looked up to all.
 */
const exchanges = ['lookedUp', 'output', 'found', 'gradient', 'lookUpGradient'] as const
export type ExchangeName = (typeof exchanges)[number]

const kinds: Readonly<Record<ExchangeName, ExchangeKind>> = {
  lookedUp: 'sum',
  output: 'spread',
  found: 'gather',
  gradient: 'sum',
  lookUpGradient: 'spread',
}

type PartSizes = Pick<VocabularyPart, 'elems' | 'foundElems'>

/** Groups that a rank has for them, by number: behind those of `sharedBuckets`, the same on all ranks of its pipe. */
export function vocabularyGroups(
  mesh: PipelineMesh,
  schedule: Pick<Schedule, 'stages' | 'vocabulary'>,
  replica: number,
): ReadonlyMap<number, readonly number[]> {
  if (schedule.vocabulary === undefined || mesh.pp === 1) return new Map()
  const ranks = Array.from({ length: mesh.pp }, (_, part) => rankAt(mesh, replica, part))
  return new Map(exchanges.map(name => [groupNumberOf(schedule, name), ranks]))
}

/** The highest of `sharedBuckets` is stages² + stages. */
function groupNumberOf({ stages }: Pick<Schedule, 'stages'>, name: ExchangeName): number {
  return stages * stages + stages + 1 + exchanges.indexOf(name)
}

/** How many bytes of shared memory they need on each rank; none where the vocabulary is whole. */
export function vocabularyBytes(schedule: Schedule, part: PartSizes | undefined): number {
  if (schedule.vocabulary === undefined || part === undefined) return 0
  const depth = vocabularyDepth(schedule)
  return exchanges.reduce((sum, name) => sum + exchangeBytes(shapeOf(schedule, part, name, depth)), 0)
}

export interface VocabularyExchangeOptions {
  /** With a sharded vocabulary. */
  readonly schedule: Schedule
  /** In the schedule, and in the groups. */
  readonly rank: number
  readonly part: VocabularyPart
  /** By number. */
  readonly groups: ReadonlyMap<number, ExchangeGroup>
  readonly memory: WebAssembly.Memory
  /** At least `vocabularyBytes`; these exchanges' alone. */
  readonly region: Region
}

/** A rank's ends of the exchanges of a sharded vocabulary. */
export class VocabularyExchange {
  readonly part: VocabularyPart
  readonly #exchanges: ReadonlyMap<ExchangeName, Exchange>

  /** @throws SKEIN_PARALLEL_MESSAGE_MEMORY */
  constructor({ schedule, rank, part, groups, memory, region }: VocabularyExchangeOptions) {
    this.part = part
    const depth = vocabularyDepth(schedule)
    const wanted = vocabularyBytes(schedule, part)
    assertMessageMemory(region, {
      wanted,
      whose: `what ranks of the schedule ${schedule.name} exchange for its vocabulary needs`,
      sizedBy: 'vocabularyBytes',
      name: schedule.name,
    })
    const places = schedule.pipes[0] ?? []
    const [first, last] = [places[0] as number, places.at(-1) as number]
    const hasGradients = schedule.ops.some(list => list.some(({ op }) => op === 'G'))
    let next = region.byteOffset
    this.#exchanges = new Map(
      exchanges.map(name => {
        const shape = shapeOf(schedule, part, name, depth)
        const bytes = exchangeBytes(shape)
        const own = { byteOffset: next, bytes }
        next += bytes
        const exchange = new Exchange({
          ...shape,
          root: name === 'lookedUp' || name === 'lookUpGradient' ? first : last,
          rank,
          // Forwards alone have no gradients, and nobody is to wait for them.
          microbatches: name === 'lookUpGradient' && !hasGradients ? 0 : schedule.microbatches,
          group: groups.get(groupNumberOf(schedule, name)),
          memory,
          region: own,
        })
        return [name, exchange]
      }),
    )
  }

  begin(): void {
    for (const exchange of this.#exchanges.values()) exchange.begin()
  }

  /** Takes the tensor over. */
  async give(name: ExchangeName, microbatch: number, tensor: StageTensor): Promise<void> {
    try {
      await this.#of(name).give(microbatch, values => tensor.copyTo(values))
    } finally {
      tensor.release()
    }
  }

  take(name: ExchangeName, microbatch: number): Promise<StageTensor> {
    return this.#of(name).take(microbatch, values => this.part.fromValues(values))
  }

  giveFound(microbatch: number, write: (values: Float32Array) => void): Promise<void> {
    return this.#of('found').give(microbatch, write)
  }

  takeFound<T>(microbatch: number, take: (values: Float32Array) => T): Promise<T> {
    return this.#of('found').take(microbatch, take)
  }

  /** @throws what an op failed with */
  async settled(): Promise<void> {
    await Promise.all([...this.#exchanges.values()].map(exchange => exchange.settled()))
  }

  #of(name: ExchangeName): Exchange {
    return this.#exchanges.get(name) as Exchange
  }
}

function shapeOf({ ranks }: Pick<Schedule, 'ranks'>, part: PartSizes, name: ExchangeName, depth: number) {
  return { kind: kinds[name], elems: name === 'found' ? part.foundElems : part.elems, ranks, depth }
}
