import type { Collectives, TensorRegion } from '@skein/collective'
import type { Region } from '@skein/simd'
import { paddedBytes } from './message-memory.ts'

/** What an exchange does with what ranks give: the root gets their sum, all get the root's, or all get everyone's, one after another. */
export type ExchangeKind = 'sum' | 'spread' | 'gather'

export interface ExchangeOptions {
  readonly kind: ExchangeKind
  /** float32 that a rank gives, and gets (of a gather: from each). */
  readonly elems: number
  /** In the group. Of a gather: none. */
  readonly root: number
  readonly rank: number
  readonly ranks: number
  readonly microbatches: number
  /** Microbatches that it holds at once. */
  readonly depth: number
  /** This exchange's alone: its ops are matched by their order. Not there where there is one rank. */
  readonly group: ExchangeGroup | undefined
  readonly memory: WebAssembly.Memory
  /** At least `exchangeBytes`. */
  readonly region: Region
}

export type ExchangeGroup = Pick<Collectives, 'reduce' | 'broadcast' | 'allGather'>

type Shape = Pick<ExchangeOptions, 'kind' | 'elems' | 'ranks' | 'depth'>

export function exchangeBytes(shape: Shape): number {
  return shape.depth * slotBytes(shape)
}

/**
 * One collective a microbatch, in their order, that run beside the device: what is given is copied to a buffer, and what comes has one before it comes. A
 * microbatch's buffer serves the one `depth` after it; `vocabularyDepth` says how many keep ranks from waiting for each other for good.
 */
export class Exchange {
  readonly #options: ExchangeOptions
  /** The ops of the microbatches whose buffers are in use, by buffer. */
  readonly #under = new Map<number, Promise<unknown>>()

  constructor(options: ExchangeOptions) {
    this.#options = options
  }

  /** A step begins: what the root will send has a buffer here. */
  begin(): void {
    this.#under.clear()
    if (!this.#isReceiver) return
    const { depth, microbatches } = this.#options
    for (let microbatch = 0; microbatch < Math.min(depth, microbatches); microbatch++) this.#issue(microbatch)
  }

  /** `write` fills the buffer; resolves when that is done, not when others have it. @throws what an op before it failed with */
  async give(microbatch: number, write: (values: Float32Array) => void): Promise<void> {
    await this.#under.get(microbatch % this.#options.depth)
    const { kind, rank, elems } = this.#options
    write(this.#values(microbatch, kind === 'gather' ? rank * elems : 0, elems))
    this.#issue(microbatch)
  }

  /** Waits for what comes, and gives it to `take`, which must not keep it. @throws what the op failed with */
  async take<T>(microbatch: number, take: (values: Float32Array) => T): Promise<T> {
    const { depth, microbatches } = this.#options
    // What the root gave is there for it while it goes to the others.
    if (!this.#isSender) await this.#under.get(microbatch % depth)
    const taken = take(this.#values(microbatch, 0, gotElems(this.#options)))
    if (this.#isReceiver && microbatch + depth < microbatches) this.#issue(microbatch + depth)
    return taken
  }

  /** Settles when nothing is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.#under.values())
  }

  get #isReceiver(): boolean {
    const { kind, rank, root } = this.#options
    return kind === 'spread' && rank !== root
  }

  get #isSender(): boolean {
    const { kind, rank, root } = this.#options
    return kind === 'spread' && rank === root
  }

  #issue(microbatch: number): void {
    const { kind, depth, group, root, ranks } = this.#options
    let op: Promise<unknown> = Promise.resolve()
    if (ranks > 1) {
      if (group === undefined) throw new Error('an exchange between ranks has no group')
      const region: TensorRegion = {
        byteOffset: this.#byteOffset(microbatch),
        elems: gotElems(this.#options),
        dtype: 'float32',
      }
      if (kind === 'sum') op = group.reduce(region, root)
      else op = kind === 'spread' ? group.broadcast(region, root) : group.allGather(region)
    }
    // Awaited by what takes it, or by what needs its buffer; until then a failure must not count as unhandled.
    op.catch(() => undefined)
    this.#under.set(microbatch % depth, op)
  }

  #values(microbatch: number, from: number, elems: number): Float32Array {
    return new Float32Array(this.#options.memory.buffer, this.#byteOffset(microbatch) + 4 * from, elems)
  }

  #byteOffset(microbatch: number): number {
    const { region, depth } = this.#options
    return region.byteOffset + (microbatch % depth) * slotBytes(this.#options)
  }
}

const gotElems = ({ kind, elems, ranks }: Shape) => (kind === 'gather' ? elems * ranks : elems)
const slotBytes = (shape: Shape) => paddedBytes(gotElems(shape) * 4)
