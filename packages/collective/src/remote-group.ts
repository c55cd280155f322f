import { asSkeinError, type Deferred, deferred, type ErrorRecord, SkeinError } from '@skein/core'
import type { Collectives, OpOptions, ReceiveOptions } from './collectives.ts'
import { type MessageRequest, MessageTable, messageState } from './message-table.ts'
import type { Messages } from './messages.ts'
import type { OpResult } from './op-run.ts'
import type { TensorRegion } from './region.ts'
import { RemoteMessages } from './remote-messages.ts'

/** The calls of a group that another thread may ask for. */
export type GroupCall = Exclude<keyof Collectives, 'rank' | 'worldSize'>

/** Asking thread → the group's thread. A few bytes: tensors are in the shared memory. */
export type GroupRequest =
  | {
      readonly type: 'op'
      readonly id: number
      readonly call: GroupCall
      /** The call's arguments before its options. */
      readonly args: readonly unknown[]
      readonly options: Omit<OpOptions, 'signal'>
      /** Whether a `cancel` may follow. */
      readonly isCancellable: boolean
    }
  | { readonly type: 'cancel'; readonly id: number; readonly error: ErrorRecord }
  /** Memory of the `MessageTable` in which messages will be asked for. */
  | { readonly type: 'messages'; readonly memory: SharedArrayBuffer }

/** The group's thread → the asking one. */
export type GroupAnswer =
  | { readonly type: 'op-done'; readonly id: number; readonly result: OpResult }
  | { readonly type: 'op-failed'; readonly id: number; readonly error: ErrorRecord }
  /** One of the messages could not be sent or received: the group has ended, or the request was wrong. */
  | { readonly type: 'message-failed'; readonly error: ErrorRecord }

/**
 * A group that lives in another thread, where its sockets are: turns calls into messages and answers into handles. All that is
 * said of `Collectives` holds; wrong arguments are found over there, so they reject.
 */
export class RemoteGroup implements Collectives {
  readonly rank: number
  readonly worldSize: number
  readonly #post: (request: GroupRequest) => void
  readonly #waiting = new Map<number, Deferred<OpResult>>()
  readonly #failed = deferred<never>()
  #nextId = 0
  #failure: SkeinError | undefined
  #messages: RemoteMessages | undefined

  constructor(place: { readonly rank: number; readonly worldSize: number }, post: (request: GroupRequest) => void) {
    this.rank = place.rank
    this.worldSize = place.worldSize
    this.#post = post
    this.#failed.promise.catch(() => undefined)
  }

  /** For many messages: cheaper than `send` and `recv`. */
  get messages(): Messages {
    if (this.#messages === undefined) {
      this.#messages = new RemoteMessages(this.#post, this.#failed.promise)
      if (this.#failure !== undefined) this.#messages.end()
    }
    return this.#messages
  }

  allReduce: Collectives['allReduce'] = (region, options) => this.#call('allReduce', [region], options)
  reduceScatter: Collectives['reduceScatter'] = (region, options) => this.#call('reduceScatter', [region], options)
  reduce: Collectives['reduce'] = (region, root, options) => this.#call('reduce', [region, root], options)
  allGather: Collectives['allGather'] = (region, options) => this.#call('allGather', [region], options)
  gather: Collectives['gather'] = (region, root, options) => this.#call('gather', [region, root], options)
  scatter: Collectives['scatter'] = (region, root, options) => this.#call('scatter', [region, root], options)
  broadcast: Collectives['broadcast'] = (region, root, options) => this.#call('broadcast', [region, root], options)
  allToAll: Collectives['allToAll'] = (input, output, options) => this.#call('allToAll', [input, output], options)
  barrier: Collectives['barrier'] = options => this.#call('barrier', [], options)
  send: Collectives['send'] = (region, peer, tag = 0, options) => this.#call('send', [region, peer, tag], options)
  recv: Collectives['recv'] = (region, peer, tag = 0, options) => this.#call('recv', [region, peer, tag], options)

  /** An answer from the group's thread. */
  receive(answer: GroupAnswer): void {
    if (answer.type === 'message-failed') {
      this.#failed.reject(SkeinError.fromJSON(answer.error))
      return
    }
    const waiting = this.#waiting.get(answer.id)
    this.#waiting.delete(answer.id)
    if (answer.type === 'op-done') waiting?.resolve(answer.result)
    else waiting?.reject(SkeinError.fromJSON(answer.error))
  }

  /** Everything that waits, and every later call, rejects with `error`; the first error stays. */
  fail(error: SkeinError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#failed.reject(error)
    this.#messages?.end()
    for (const waiting of this.#waiting.values()) waiting.reject(error)
    this.#waiting.clear()
  }

  #call(call: GroupCall, args: readonly unknown[], options: OpOptions = {}): Promise<OpResult> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const { signal, ...plain } = options
    const id = this.#nextId++
    const waiting = deferred<OpResult>()
    this.#waiting.set(id, waiting)
    this.#post({ type: 'op', id, call, args, options: plain, isCancellable: signal !== undefined })
    if (signal === undefined) return waiting.promise
    const cancel = () => this.#post({ type: 'cancel', id, error: asSkeinError(signal.reason).toJSON() })
    if (signal.aborted) cancel()
    else signal.addEventListener('abort', cancel, { once: true })
    return waiting.promise.finally(() => signal.removeEventListener('abort', cancel))
  }
}

/** A group in this thread. */
export interface LocalGroup extends Collectives {
  recv(region: TensorRegion, peer: number, tag?: number, options?: ReceiveOptions): Promise<OpResult>
}

/** The other end of a RemoteGroup, in the thread of the group. */
export class GroupServer {
  readonly #group: LocalGroup
  readonly #post: (answer: GroupAnswer) => void
  readonly #onMessages: ((numMessages: number, over: Promise<unknown>) => void) | undefined
  readonly #cancels = new Map<number, AbortController>()
  #table: MessageTable | undefined
  #isClosed = false

  /** `onMessages` hears of messages that are asked for, and when they are over: they come without a request. */
  constructor(
    group: LocalGroup,
    post: (answer: GroupAnswer) => void,
    onMessages?: (numMessages: number, over: Promise<unknown>) => void,
  ) {
    this.#group = group
    this.#post = post
    this.#onMessages = onMessages
  }

  /** Starts what is asked for, and answers when it is done; resolves then, and never rejects. */
  async receive(request: GroupRequest): Promise<void> {
    if (request.type === 'messages') {
      this.#table = new MessageTable(request.memory)
      if (this.#isClosed) this.#table.close()
      void this.#table.serve(messages => {
        const over = Promise.all(messages.map(message => this.#pass(message)))
        this.#onMessages?.(messages.length, over)
      })
      return
    }
    const { id } = request
    if (request.type === 'cancel') {
      this.#cancels.get(id)?.abort(SkeinError.fromJSON(request.error))
      return
    }
    let { options }: { options: OpOptions } = request
    if (request.isCancellable) {
      const cancel = new AbortController()
      this.#cancels.set(id, cancel)
      options = { ...options, signal: cancel.signal }
    }
    try {
      const call = this.#group[request.call] as (...args: readonly unknown[]) => Promise<OpResult>
      const result = await call.call(this.#group, ...request.args, options)
      this.#post({ type: 'op-done', id, result })
    } catch (thrown) {
      this.#post({ type: 'op-failed', id, error: asSkeinError(thrown).toJSON() })
    } finally {
      this.#cancels.delete(id)
    }
  }

  /** For whose message the asking thread waits at this moment. */
  get awaitedPeer(): number | undefined {
    return this.#table?.awaitedPeer
  }

  /** The group has ended: messages that are asked for from now on have failed. */
  close(): void {
    this.#isClosed = true
    this.#table?.close()
  }

  async #pass({ call, region, peer, tag, row }: MessageRequest): Promise<void> {
    try {
      const onArriving = () => this.#table?.arriving(row)
      await (call === 'send'
        ? this.#group.send(region, peer, tag)
        : this.#group.recv(region, peer, tag, { onArriving }))
      this.#table?.end(row, messageState.done)
    } catch (thrown) {
      this.#table?.end(row, messageState.failed)
      this.#post({ type: 'message-failed', error: asSkeinError(thrown).toJSON() })
    }
  }
}
