import type { Messages, TensorRegion, Transfer } from '@skein/collective'
import type { FrozenPart, StageTensor } from '@skein/model'
import { makersOf, numPieces, piecesOf, type Schedule, takerOf } from '@skein/schedule'
import type { Region } from '@skein/simd'
import { assertMessageMemory, paddedBytes } from './message-memory.ts'
import { frozenTag } from './message-tag.ts'

export interface FillExchangeOptions {
  /** Filled. */
  readonly schedule: Schedule
  /** In the schedule. */
  readonly rank: number
  readonly part: FrozenPart
  /** The rank in the group of a rank in the schedule. */
  readonly groupRankOf: (rank: number) => number
  readonly messages: Messages
  readonly memory: WebAssembly.Memory
  /** At least `fillBytes`; the exchange's alone. */
  readonly region: Region
}

/** Outputs that a rank may have under way. */
const outputs = 2

/** How many bytes of shared memory what frozen layers make needs on one rank: twice a step's where the first stage is. */
export function fillBytes(schedule: Schedule, rank: number, part: Pick<FrozenPart, 'outputElems'>): number {
  return storeBytes(schedule, rank, part) + outputs * outputBytes(part)
}

/**
 * What frozen layers make of the next step's samples, from the rank that had time for it to the one that has the first stage. There each piece has a place, those
 * of a microbatch side by side, and all of a step are asked for as it begins: none of them ever holds up what comes behind it on a lane. Two
 * steps have places: one is taken while the next is made.
 */
export class FillExchange {
  readonly part: FrozenPart
  readonly #options: FillExchangeOptions
  readonly #makers: ReadonlyMap<number, number>
  /** Of the pieces that are taken here, by piece: its number among them. */
  readonly #taken: ReadonlyMap<number, number>
  /** By half and number. */
  readonly #arrivals = new Map<string, Transfer>()
  readonly #underWay: Transfer[] = []
  #sent = 0

  /** @throws SKEIN_PARALLEL_MESSAGE_MEMORY */
  constructor(options: FillExchangeOptions) {
    const { schedule, rank, part, region } = options
    const wanted = fillBytes(schedule, rank, part)
    assertMessageMemory(region, {
      wanted,
      whose: `what frozen layers make in the schedule ${schedule.name} on rank ${rank} needs`,
      sizedBy: 'fillBytes',
      name: schedule.name,
    })
    this.part = part
    this.#options = options
    this.#makers = makersOf(schedule)
    this.#taken = new Map(takenBy(schedule, rank).map((piece, index) => [piece, index]))
  }

  /** A step begins: what will be made in it, for the next one, has its places. Step 0 makes what the first one takes. */
  begin(step: number): void {
    const { rank, messages, groupRankOf, schedule } = this.#options
    for (const piece of this.#taken.keys()) {
      const maker = this.#makers.get(piece)
      if (maker === undefined || maker === rank) continue
      const arrival = messages.recv(this.#place(step, piece), groupRankOf(maker), frozenTag(schedule, step, piece))
      this.#arrivals.set(keyOf(step, piece), arrival)
    }
    messages.flush()
  }

  /** Takes what a step has made of a piece over, and puts it in its place or sends it; resolves when it is copied. */
  async give(step: number, piece: number, tensor: StageTensor): Promise<void> {
    const { rank, schedule, messages, groupRankOf, memory } = this.#options
    try {
      const taker = takerOf(schedule, piece)
      const region = taker === rank ? this.#place(step, piece) : await this.#freeOutput()
      tensor.copyTo(new Float32Array(memory.buffer, region.byteOffset, region.elems))
      if (taker === rank) return
      this.#underWay.push(messages.send(region, groupRankOf(taker), frozenTag(schedule, step, piece)))
      messages.flush()
    } finally {
      tensor.release()
    }
  }

  /** Waits until all of a microbatch of this step is here. @throws what a message failed with */
  async ready(step: number, microbatch: number): Promise<void> {
    for (const piece of piecesOf(this.#options.schedule, microbatch)) {
      const key = keyOf(step - 1, piece)
      const arrival = this.#arrivals.get(key)
      if (arrival?.isDone === false) await arrival.done()
      this.#arrivals.delete(key)
    }
  }

  /** What was made of a microbatch of this step, its pieces one after another: until the step ends. */
  values(step: number, microbatch: number): Float32Array {
    const { schedule, memory, part } = this.#options
    const [first, ...others] = piecesOf(schedule, microbatch)
    const { byteOffset } = this.#place(step - 1, first as number)
    return new Float32Array(memory.buffer, byteOffset, (1 + others.length) * part.outputElems)
  }

  /** Settles when everything given has left. @throws what a message failed with */
  async settled(): Promise<void> {
    for (const transfer of this.#underWay.splice(0)) if (!transfer.isDone) await transfer.done()
  }

  async #freeOutput(): Promise<TensorRegion> {
    const { schedule, rank, part, region } = this.#options
    if (this.#underWay.length === outputs) {
      const oldest = this.#underWay.shift() as Transfer
      if (!oldest.isDone) await oldest.done()
    }
    const at = region.byteOffset + storeBytes(schedule, rank, part) + (this.#sent++ % outputs) * outputBytes(part)
    return { byteOffset: at, elems: part.outputElems, dtype: 'float32' }
  }

  /** Of what is made in a step. */
  #place(step: number, piece: number): TensorRegion {
    const { part, region } = this.#options
    const number = this.#taken.get(piece)
    if (number === undefined) throw new Error(`piece ${piece} is not taken on rank ${this.#options.rank}`)
    const index = (step % 2) * this.#taken.size + number
    return { byteOffset: region.byteOffset + index * part.outputElems * 4, elems: part.outputElems, dtype: 'float32' }
  }
}

function takenBy(schedule: Schedule, rank: number): readonly number[] {
  return Array.from({ length: numPieces(schedule) }, (_, piece) => piece).filter(
    piece => takerOf(schedule, piece) === rank,
  )
}

function storeBytes(schedule: Schedule, rank: number, { outputElems }: Pick<FrozenPart, 'outputElems'>): number {
  return paddedBytes(2 * takenBy(schedule, rank).length * outputElems * 4)
}

const keyOf = (step: number, piece: number) => `${step % 2} ${piece}`
const outputBytes = ({ outputElems }: Pick<FrozenPart, 'outputElems'>) => paddedBytes(outputElems * 4)
