import type { Worker } from 'node:worker_threads'
import { type Deferred, deferred, SkeinError } from '@skein/core'
import { RemoteGroup, type TensorRegion } from '@skein/collective'
import type { Region } from '@skein/simd'
import type { EvaluationReport, Peers, StepReport } from '@skein/trainer'
import type { CoordinatorMessage, WorkerMessage } from '@skein/wire'
import { WorkerErrors } from './errors.ts'
import type { ToComm, ToDevice } from './thread-messages.ts'

type GenerationMessage = Extract<CoordinatorMessage, { type: 'generation' }>

/**
 * The device thread's end of the comm thread: turns its messages into promises. One failure ends everything that waits, now
 * and later, with the same error.
 */
export class CommClient {
  readonly #thread: Worker
  readonly #told = new Map<CoordinatorMessage['type'], Deferred<CoordinatorMessage>>()
  readonly #connected = deferred<void>()
  readonly #closed = deferred<void>()
  readonly #commits = new Map<number, Deferred<void>>()
  #committedStep = 0
  #stopAfter: number | undefined
  #group: RemoteGroup | undefined
  #failure: SkeinError | undefined

  constructor(thread: Worker) {
    this.#thread = thread
    // A failure may come while nobody waits: these promises must not count as unhandled then.
    this.#connected.promise.catch(() => undefined)
    thread.on('message', (message: ToDevice) => this.#receive(message))
    thread.on('error', cause => this.#fail(this.#died('it threw an error', cause)))
    thread.on('exit', code => {
      this.#fail(this.#died(`it ended with code ${code}`))
      this.#closed.resolve()
    })
  }

  /** The first message of this type from the coordinator, already here or yet to come. */
  async told<T extends CoordinatorMessage['type']>(type: T): Promise<Extract<CoordinatorMessage, { type: T }>> {
    return (await this.#slot(type).promise) as Extract<CoordinatorMessage, { type: T }>
  }

  /** As `told`; undefined when the coordinator ends the run before it comes to that. */
  async toldUnlessFinished<T extends CoordinatorMessage['type']>(
    type: T,
  ): Promise<Extract<CoordinatorMessage, { type: T }> | undefined> {
    return Promise.race([this.told(type), this.told('finish').then(() => undefined)])
  }

  async connect(memory: WebAssembly.Memory, scratch: Region): Promise<void> {
    this.#post({ type: 'connect', memory, scratch })
    await this.#connected.promise
  }

  ready(params: Region, dataFingerprint: string, numParams: number): void {
    this.#post({ type: 'ready', params, dataFingerprint, numParams })
  }

  tell(message: WorkerMessage): void {
    this.#post({ type: 'tell', message })
  }

  /** Called before the run starts or resumes: everything up to `step` is committed. */
  startFrom(step: number): void {
    this.#committedStep = step
  }

  /** The peers of one generation, for the training loop. */
  peers(generation: GenerationMessage, rank: number): Peers {
    const group = new RemoteGroup({ rank, worldSize: generation.members.length }, request => this.#post(request))
    this.#group = group
    if (this.#failure !== undefined) group.fail(this.#failure)
    return {
      rank,
      worldSize: group.worldSize,
      generation: generation.generation,
      allReduce: region => group.allReduce(float32Of(region)),
      broadcast: (region, root) => group.broadcast(float32Of(region), root),
      vote: (report: StepReport) => this.#post({ type: 'vote', report }),
      committed: step => this.#committed(step),
      stopAfter: () => this.#stopAfter,
      evaluated: (report: EvaluationReport) =>
        this.tell({ type: 'evaluated', generation: generation.generation, ...report }),
      checkpointed: (step, path) => this.tell({ type: 'checkpointed', generation: generation.generation, step, path }),
    }
  }

  /** Ends everything that waits with this error. */
  fail(error: SkeinError): void {
    this.#fail(error)
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

  #committed(step: number): Promise<void> {
    if (step <= this.#committedStep) return Promise.resolve()
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    let waiting = this.#commits.get(step)
    if (waiting === undefined) {
      waiting = deferred<void>()
      this.#commits.set(step, waiting)
    }
    return waiting.promise
  }

  #receive(message: ToDevice): void {
    switch (message.type) {
      case 'told':
        this.#hear(message.message)
        break
      case 'connected':
        this.#connected.resolve()
        break
      case 'op-done':
      case 'op-failed':
        this.#group?.receive(message)
        break
      case 'failed':
        this.#fail(SkeinError.fromJSON(message.error))
        break
      case 'closed':
        this.#closed.resolve()
        break
    }
  }

  #hear(message: CoordinatorMessage): void {
    switch (message.type) {
      case 'commit':
        this.#committedStep = Math.max(this.#committedStep, message.step)
        for (const [step, waiting] of this.#commits) {
          if (step > this.#committedStep) continue
          this.#commits.delete(step)
          waiting.resolve()
        }
        break
      case 'stop':
        this.#stopAfter = message.afterStep
        break
      case 'abort':
      case 'refuse':
        this.#fail(SkeinError.fromJSON(message.error))
        break
      default:
        this.#slot(message.type).resolve(message)
    }
  }

  #slot(type: CoordinatorMessage['type']): Deferred<CoordinatorMessage> {
    let slot = this.#told.get(type)
    if (slot === undefined) {
      slot = deferred<CoordinatorMessage>()
      slot.promise.catch(() => undefined)
      this.#told.set(type, slot)
      if (this.#failure !== undefined) slot.reject(this.#failure)
    }
    return slot
  }

  #fail(error: SkeinError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#connected.reject(error)
    for (const slot of this.#told.values()) slot.reject(error)
    this.#group?.fail(error)
    for (const commit of this.#commits.values()) commit.reject(error)
    this.#commits.clear()
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

function float32Of({ byteOffset, bytes }: Region): TensorRegion {
  return { byteOffset, elems: bytes / 4, dtype: 'float32' }
}
