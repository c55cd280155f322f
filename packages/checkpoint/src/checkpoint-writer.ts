import { Worker } from 'node:worker_threads'
import { type Deferred, deferred, SkeinError } from '@skein/core'
import { CheckpointErrors } from './errors.ts'
import type { SavedCheckpoint } from './save-checkpoint.ts'
import type { PartsToPublish } from './save-parts.ts'
import type { PartOfCheckpoint } from './shards.ts'
import type { FromWriter, Snapshot, ToWriter, WriterOptions } from './writer-messages.ts'

export type { Snapshot, WriterOptions } from './writer-messages.ts'

/** Bytes of a snapshot's buffer: parameters and two moments, float32. */
export function snapshotBytes(totalElems: number): number {
  return 3 * totalElems * Float32Array.BYTES_PER_ELEMENT
}

/**
 * Writes checkpoints in a thread of its own, which begins with the first one. The caller only copies its state into a snapshot's buffer. One
 * write at a time, in the order asked for.
 */
export class CheckpointWriter {
  readonly #options: WriterOptions
  readonly #waiting = new Map<number, Deferred<SavedCheckpoint | undefined>>()
  #thread: Worker | undefined
  #lastId = 0

  constructor(options: WriterOptions) {
    this.#options = options
  }

  /** Borrows the snapshot's buffer until it settles. @throws SKEIN_CHECKPOINT_WRITE, _TENSORS, _WRITER_DIED */
  async save(snapshot: Snapshot): Promise<SavedCheckpoint> {
    return (await this.#ask(id => ({ id, snapshot }))) as SavedCheckpoint
  }

  /** Likewise one part of a checkpoint, which is there only when all parts are and it is published. @throws as `save` */
  async savePart(snapshot: Snapshot, place: Omit<PartOfCheckpoint, 'generation'>): Promise<void> {
    await this.#ask(id => ({ id, snapshot, place }))
  }

  /** Makes the checkpoint of parts that all are on disk. @throws as `save`, SKEIN_CHECKPOINT_PART_MISSING */
  async publish(parts: PartsToPublish): Promise<SavedCheckpoint> {
    return (await this.#ask(id => ({ id, publish: parts }))) as SavedCheckpoint
  }

  /** Not all parts of a step are there, nor will they be in this generation. @throws as `save` */
  async discard(parts: Pick<PartsToPublish, 'step' | 'generation'>): Promise<void> {
    await this.#ask(id => ({ id, discard: parts }))
  }

  #ask(messageOf: (id: number) => ToWriter): Promise<SavedCheckpoint | undefined> {
    const id = ++this.#lastId
    const saved = deferred<SavedCheckpoint | undefined>()
    this.#waiting.set(id, saved)
    this.#thread ??= this.#started()
    this.#thread.postMessage(messageOf(id))
    return saved.promise
  }

  /** Ends the thread; what it was writing is not there then. Idempotent. */
  async close(): Promise<void> {
    await this.#thread?.terminate()
  }

  #started(): Worker {
    const thread = new Worker(new URL('./writer-thread.js', import.meta.url), {
      workerData: this.#options,
      name: 'skein-checkpoint',
    })
    thread.on('message', (message: FromWriter) => {
      const waiting = this.#waiting.get(message.id)
      this.#waiting.delete(message.id)
      if ('saved' in message) waiting?.resolve(message.saved)
      else waiting?.reject(SkeinError.fromJSON(message.error))
    })
    let cause: unknown
    thread.on('error', error => (cause = error))
    // The next save begins another one.
    thread.on('exit', code => {
      this.#thread = undefined
      for (const waiting of this.#waiting.values()) waiting.reject(died(code, cause))
      this.#waiting.clear()
    })
    return thread
  }
}

const died = (code: number, cause: unknown): SkeinError =>
  new SkeinError(CheckpointErrors.WRITER_DIED, {
    what: `the thread that writes checkpoints ended with code ${code}${cause instanceof Error ? `: ${cause.message}` : ''}`,
    why: 'it was closed, ran out of memory, or has a defect',
    todo: 'nothing where the worker was being closed; else the next checkpoint is tried in a new thread',
    ...(cause === undefined ? {} : { cause }),
  })
