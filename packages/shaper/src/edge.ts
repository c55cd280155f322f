import { type Deferred, deferred } from '@skein/core'
import type { LinkShape } from './link-model.ts'
import type { ShapedPipe } from './shaped-pipe.ts'

/** One direction between two nodes of a network, whatever connections run over it. */
export class Edge {
  readonly from: string
  readonly to: string
  readonly #pipes = new Set<ShapedPipe>()
  readonly #cutters = new Set<symbol>()
  #shape: LinkShape = {}
  #cut: Deferred<void> | undefined

  constructor(from: string, to: string) {
    this.from = from
    this.to = to
  }

  get shape(): LinkShape {
    return this.#shape
  }

  get isCut(): boolean {
    return this.#cut !== undefined
  }

  /** Nothing arrives from now on, until all who cut it have called what this returns. */
  cut(): () => void {
    this.#cut ??= deferred()
    for (const pipe of this.#pipes) pipe.stall()
    const token = Symbol()
    this.#cutters.add(token)
    return () => {
      if (this.#cutters.delete(token) && this.#cutters.size === 0) this.#heal()
    }
  }

  /** What was held arrives, and connections that broke meanwhile are known to be broken. */
  #heal(): void {
    this.#cut?.resolve()
    this.#cut = undefined
    for (const pipe of this.#pipes) pipe.goOn()
  }

  /** Settles at once where the edge is whole. */
  async whenWhole(): Promise<void> {
    await this.#cut?.promise
  }

  /** Rate and delay from now on; `{}`: none. @throws SKEIN_SHAPER_BAD_SHAPE */
  reshape(shape: LinkShape): void {
    for (const pipe of this.#pipes) pipe.reshape(shape)
    this.#shape = shape
  }

  /** For the network: a pipe that follows this edge until the returned function is called. */
  add(pipe: ShapedPipe): () => void {
    this.#pipes.add(pipe)
    if (this.isCut) pipe.stall()
    return () => this.#pipes.delete(pipe)
  }
}
