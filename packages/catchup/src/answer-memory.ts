import type { ServerResponse } from 'node:http'

/**
 * Memory for answers on their way, used again when they are gone: as many pieces as there are answers at a time. A new buffer for each had the garbage
 * collector of every source busy with nothing else (docs/lab-log.md).
 */
export class AnswerMemory {
  readonly #elems: number
  readonly #free: Float32Array<ArrayBuffer>[] = []

  /** `elems`: of the largest answer. */
  constructor(elems: number) {
    this.#elems = elems
  }

  /** For this response until it is closed: by then the operating system has all of it, or nobody wants it. */
  until(response: ServerResponse): Float32Array<ArrayBuffer> {
    const memory = this.#free.pop() ?? new Float32Array(this.#elems)
    response.once('close', () => this.#free.push(memory))
    return memory
  }
}
