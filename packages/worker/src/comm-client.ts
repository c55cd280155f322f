import type { Worker } from 'node:worker_threads'
import { type SharedState, UpdateHistory } from '@skein/catchup'
import { type Deferred, deferred, SkeinError } from '@skein/core'
import type { CoordinatorMessage, WorkerMessage } from '@skein/wire'
import { WorkerErrors } from './errors.ts'
import { GenerationClient, type GenerationMessage } from './generation-client.ts'
import type { CommStart, ToComm, ToDevice } from './thread-messages.ts'

type Welcome = Extract<CoordinatorMessage, { type: 'welcome' }>

/** The device thread's end of the comm thread, for the whole life of the worker. One fatal failure ends everything that waits. */
export class CommClient {
  readonly #thread: Worker
  readonly #workerId: string
  readonly #lastOver: Int32Array
  readonly #numPieces: Int32Array
  readonly #welcome = deferred<Welcome>()
  readonly #closed = deferred<void>()
  #news: Deferred<void> = deferred()
  /** The newest one that the coordinator has formed with this worker. */
  #newest: GenerationMessage | undefined
  #entered: GenerationClient | undefined
  #isWelcome = false
  #isFinished = false
  #failure: SkeinError | undefined
  #history: UpdateHistory | undefined
  /** The part of the model whose state is shared, and the one that this worker is to go after while it waits. */
  #sharedPart: number | undefined
  #wantedPart: number | undefined

  constructor(thread: Worker, workerId: string, shared: Pick<CommStart, 'lastOver' | 'numPieces'>) {
    this.#thread = thread
    this.#workerId = workerId
    this.#lastOver = shared.lastOver
    this.#numPieces = shared.numPieces
    // A failure may come while nobody waits: it must not count as unhandled then.
    this.#welcome.promise.catch(() => undefined)
    thread.on('message', (message: ToDevice) => this.#receive(message))
    thread.on('error', cause => this.fail(this.#died('it threw an error', cause)))
    thread.on('exit', code => {
      this.fail(this.#died(`it ended with code ${code}`))
      this.#closed.resolve()
    })
  }

  /** The answer to the join. */
  welcome(): Promise<Welcome> {
    return this.#welcome.promise
  }

  /**
   * The next generation that this worker is in, skipping those that are over; undefined when its part in the run is over. Meanwhile it may be
   * told to go after a part of the model: `makePlace` is to share a state for it, where that is not the part whose state is shared already.
   */
  async nextGeneration(makePlace?: (part: number) => Promise<void>): Promise<GenerationMessage | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      if (this.#isFinished) return undefined
      const { generation } = this.#newest ?? { generation: 0 }
      const isNew = generation > (this.#entered?.generation ?? 0)
      if (isNew && generation > Atomics.load(this.#lastOver, 0)) return this.#newest
      const wanted = this.#wantedPart
      if (makePlace !== undefined && wanted !== undefined && wanted !== this.#sharedPart) {
        await makePlace(wanted)
        continue
      }
      this.#post({ type: 'idle', generation })
      await this.#news.promise
    }
  }

  /** Takes part in a generation. */
  enter(message: GenerationMessage): GenerationClient {
    const post = (request: ToComm) => this.#post(request)
    const atPiece = () => {
      Atomics.add(this.#numPieces, 0, 1)
      return Atomics.load(this.#lastOver, 0)
    }
    const entered = new GenerationClient(message, this.#workerId, post, atPiece)
    this.#entered = entered
    if (this.#failure !== undefined) entered.fail(this.#failure)
    return entered
  }

  /** Where updates are to be recorded, while others catch up. */
  get history(): UpdateHistory | undefined {
    return this.#history
  }

  /** The state that other workers may ask for, and that theirs is put into while this thread waits for a generation. */
  shareState(state: SharedState, part = 0): void {
    this.#sharedPart = part
    this.#post({ type: 'state', state, part })
  }

  /** Model and data are open. */
  loaded(dataFingerprint: string, numParams: number): void {
    this.#post({ type: 'loaded', dataFingerprint, numParams })
  }

  /** Asks to go after the steps under way; the worker's part ends when the coordinator says so, or at once where it has none yet. */
  leave(reason: SkeinError): void {
    if (this.#isWelcome) this.#post({ type: 'leave', reason: reason.what })
    else this.fail(reason)
  }

  tell(message: WorkerMessage): void {
    this.#post({ type: 'tell', message })
  }

  /** Ends everything that waits with this error; the first one stays. */
  fail(error: SkeinError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#welcome.reject(error)
    this.#entered?.fail(error)
    this.#announce()
  }

  /** Closes every socket and ends the thread; idempotent. */
  async close(): Promise<void> {
    this.#post({ type: 'close' })
    await this.#closed.promise
    await this.#thread.terminate()
  }

  #post(message: ToComm): void {
    this.#thread.postMessage(message)
  }

  #receive(message: ToDevice): void {
    switch (message.type) {
      case 'told':
        this.#hear(message.message)
        break
      case 'record':
        this.#history = message.history === undefined ? undefined : new UpdateHistory(message.history)
        break
      case 'connected':
      case 'restored':
        if (message.generation === this.#entered?.generation) this.#entered.receive(message)
        break
      case 'op-done':
      case 'op-failed':
      case 'message-failed':
        this.#entered?.receive(message)
        break
      case 'over':
        if (message.generation === this.#entered?.generation) this.#entered.fail(SkeinError.fromJSON(message.error))
        break
      case 'failed':
        this.fail(SkeinError.fromJSON(message.error))
        break
      case 'closed':
        this.#closed.resolve()
        break
    }
  }

  #hear(message: CoordinatorMessage): void {
    switch (message.type) {
      case 'welcome':
        this.#isWelcome = true
        this.#welcome.resolve(message)
        break
      case 'generation':
        this.#newest = message
        this.#wantedPart = undefined
        this.#announce()
        break
      case 'catch-up':
        this.#wantedPart = message.part
        this.#announce()
        break
      case 'start':
      case 'commit':
      case 'regroup':
      case 'shares':
      case 'checkpoint-parts':
      case 'mirror-whole':
      case 'stop':
        if (message.generation === this.#entered?.generation) this.#entered.hear(message)
        break
      case 'finish':
        this.#isFinished = true
        this.#announce()
        break
      case 'abort':
      case 'refuse':
      case 'fail':
      case 'report-flight':
        // The comm thread's business; what follows from it comes as `over` or `failed`.
        break
    }
  }

  #announce(): void {
    const news = this.#news
    this.#news = deferred()
    news.resolve()
  }

  #died(how: string, cause?: unknown): SkeinError {
    return new SkeinError(WorkerErrors.COMM_THREAD_DIED, {
      what: `the comm thread is gone: ${how}`,
      why: 'a defect, or the process is being ended',
      todo: "read the end of this worker's log",
      ...(cause === undefined ? {} : { cause }),
    })
  }
}
