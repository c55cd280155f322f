import { type Deferred, deferred, type Ms, within } from '@skein/core'
import type { WorkerMessage } from '@skein/wire'

export type FlightMessage = Extract<WorkerMessage, { type: 'flight' }>

/** What one worker has said about its ops. */
export interface ReceivedFlight {
  readonly message: FlightMessage
  readonly receivedMs: Ms
}

/**
 * The newest flight record of each worker, in answer to a question and at the end of a generation: at most two a worker, of the
 * newest generation that gave any.
 */
export class FlightRecords {
  readonly #answers = new Map<string, ReceivedFlight>()
  readonly #last = new Map<string, ReceivedFlight>()
  #news: Deferred<void> = deferred()

  take(workerId: string, message: FlightMessage, receivedMs: Ms): void {
    const records = message.cause === 'asked' ? this.#answers : this.#last
    for (const [other, { message: known }] of records) if (known.generation < message.generation) records.delete(other)
    records.set(workerId, { message, receivedMs })
    const news = this.#news
    this.#news = deferred()
    news.resolve()
  }

  /** What a worker answered in this generation, not before `sinceMs`. */
  answerOf(workerId: string, generation: number, sinceMs: Ms): ReceivedFlight | undefined {
    const answer = this.#answers.get(workerId)
    return answer?.message.generation === generation && answer.receivedMs >= sinceMs ? answer : undefined
  }

  /** What a worker said when this generation failed. */
  lastWordsOf(workerId: string, generation: number): ReceivedFlight | undefined {
    const last = this.#last.get(workerId)
    return last?.message.generation === generation ? last : undefined
  }

  /** Settles when all of these have answered, or after `timeoutMs`. */
  async answered(workerIds: readonly string[], generation: number, sinceMs: Ms, timeoutMs: Ms): Promise<void> {
    const waiting = async () => {
      while (workerIds.some(workerId => this.answerOf(workerId, generation, sinceMs) === undefined)) {
        await this.#news.promise
      }
    }
    // Who stays silent is what is asked about: no failure of the question.
    await within(waiting(), { what: 'flight records', timeoutMs }).catch(() => undefined)
  }
}
