import type { RunEvent } from '@skein/membership'

/** Of a step; the log has what counts of it. All other kinds are few. */
const passing: ReadonlySet<RunEvent['event']> = new Set(['step', 'mirrored'])

/** What stands for an event that is not kept any more, so that those after it keep their numbers. */
export const goneEvent = '{"event":"gone"}'

/** Blocks that one write takes away at most: more than it adds. */
const maxTaken = 8

/**
 * Which blocks of events may go: those that tell of steps only, the oldest first, where there are more bytes of them than are to be kept. The newest
 * one stays.
 */
export class PassingEvents {
  readonly #maxBytes: number
  readonly #blocks: { readonly key: string; readonly bytes: number }[] = []
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Keys of blocks that are too many; the same ones until they are `taken`. */
  tooMany(): string[] {
    const keys: string[] = []
    let bytes = this.#bytes
    for (const block of this.#blocks.slice(0, Math.min(maxTaken, this.#blocks.length - 1))) {
      if (bytes <= this.#maxBytes) break
      keys.push(block.key)
      bytes -= block.bytes
    }
    return keys
  }

  taken(numBlocks: number): void {
    for (const { bytes } of this.#blocks.splice(0, numBlocks)) this.#bytes -= bytes
  }

  written(key: string, bytes: number, events: readonly RunEvent[]): void {
    if (!events.every(({ event }) => passing.has(event))) return
    this.#blocks.push({ key, bytes })
    this.#bytes += bytes
  }
}
