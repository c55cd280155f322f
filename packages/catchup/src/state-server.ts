import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { deferred, type Deferred, sleep } from '@skein/core'
import { type ConnectionGuard, isSameProof, type RefusalReason } from '@skein/transport'
import { AnswerMemory } from './answer-memory.ts'
import { BodyTag, newNonce } from './body-tag.ts'
import { type Chunk, chunkElems, chunksOf } from './chunks.ts'
import { KeptCopies } from './kept-copies.ts'
import { type SharedState, SlotSteps, type StateSlots } from './shared-state.ts'
import type { CopyPlace, Standing } from './source.ts'
import { names, parseStateRequest, proofOf, type RequestProof, type StateRequest, statePath } from './state-request.ts'
import type { UpdateHistory } from './update-history.ts'

export interface StateServerOptions {
  /** Someone catches up: the updates are to be recorded from now on. Called at every request. */
  readonly onFollower: () => void
  /** Whether the link is needed for something more urgent: then a chunk waits, for a bounded time. Default: never. */
  readonly isBusy?: () => boolean
  readonly chunkElems?: number
}

/** States that a chunk can be given of. */
interface Shelf {
  readonly slots: StateSlots
  readonly steps: SlotSteps
  readonly chunks: readonly Chunk[]
}

/** How long a chunk waits for an idle moment of the link, looking so often. */
const quietMs = 250
const lookMs = 2
/** How long a request waits for the next commit. */
const longPollMs = 1_000
/** Workers that catch up in one generation; each is remembered by its number. */
const maxAskers = 4096

interface Door {
  readonly token: string
  /** Askers with the highest number that was used. */
  readonly askers: Map<string, number>
}

/**
 * Gives the state of this worker to those who know the token of its generation: what is committed, and nothing else. Copies a chunk between two
 * pieces of the comm thread's other work; holds nobody up.
 */
export class StateServer {
  readonly #options: StateServerOptions
  readonly #doors = new Map<number, Door>()
  #trained: Shelf | undefined
  /** By part. */
  readonly #copies = new Map<number, Shelf & { readonly copies: KeptCopies }>()
  readonly #memory: AnswerMemory
  #history: UpdateHistory | undefined
  #committed: Standing | undefined
  #news: Deferred<void> = deferred()
  #bytesSent = 0

  constructor(options: StateServerOptions) {
    this.#options = options
    this.#memory = new AnswerMemory(3 * (options.chunkElems ?? chunkElems))
  }

  get bytesSent(): number {
    return this.#bytesSent
  }

  /** The state that is given from; before, everyone is refused. */
  serve(state: SharedState): void {
    this.#trained = this.#shelf(state)
  }

  /** Copies of a part of mirrored steps that are given as well, until they are let go. */
  keep(part: number, copies: KeptCopies): void {
    this.#copies.set(part, { ...this.#shelf(copies.slots), copies })
  }

  letCopiesGo(): void {
    this.#copies.clear()
  }

  /** Undefined: updates are not recorded. */
  record(history: UpdateHistory | undefined): void {
    this.#history = history
  }

  open(generation: number, token: string): void {
    this.#doors.set(generation, { token, askers: new Map() })
  }

  close(generation: number): void {
    this.#doors.delete(generation)
  }

  /** The newest commit that this worker holds, or may hold; undefined: none. */
  committed(standing: Standing | undefined): void {
    this.#committed = standing
    const news = this.#news
    this.#news = deferred()
    news.resolve()
  }

  /** For `onRequest` of a listener whose `guard` counts who is refused. Other paths are left to `otherwise`. */
  listener(guard: () => ConnectionGuard, otherwise: RequestListener): RequestListener {
    return (request, response) => {
      if (request.url === undefined || !request.url.startsWith(statePath)) {
        otherwise(request, response)
        return
      }
      const refuse = (status: number, reason: RefusalReason, why: string) => {
        guard().refuse(request.socket, reason, { why })
        answerWhy(response, status, why)
      }
      const parsed = request.method === 'GET' ? parseStateRequest(request.url, request.headers) : undefined
      if (parsed === undefined) return refuse(400, 'badRequest', 'not a request for state')
      const door = this.#doors.get(parsed.request.generation)
      if (door === undefined)
        return refuse(409, 'otherLane', `generation ${parsed.request.generation} is not open here`)
      const refusal = refusalOf(door, parsed.request, parsed.shown)
      if (refusal !== undefined) return refuse(401, ...refusal)
      guard().letIn(request.socket)
      this.#answer(request, response, parsed, door.token).catch(() => response.destroy())
    }
  }

  async #answer(
    http: IncomingMessage,
    response: ServerResponse,
    { request, shown }: { readonly request: StateRequest; readonly shown: RequestProof },
    token: string,
  ): Promise<void> {
    const sign = (said: string) => ({ [names.answer]: proofOf('answer', token, request, shown, said) })
    const give = (answer: GivenChunk) => this.#give(response, answer, token, sign)
    if (request.copy !== undefined) return this.#answerOfCopy(response, request.chunk, request.copy, sign, give)
    this.#options.onFollower()
    await this.#newerThan(request.have, http)
    const committed = this.#committed
    if (committed === undefined) return answerWhy(response, 409, 'no committed state is held here')
    if (request.chunk === undefined) {
      const { step, digest } = committed
      response.writeHead(204, {
        [names.step]: step,
        [names.digest]: digest,
        ...sign(`${step} ${digest}`),
      })
      response.end()
      return
    }
    await this.#quiet()
    const answer = this.#chunk(request.chunk, request.have, this.#memory.until(response))
    if (answer === undefined) return answerWhy(response, 409, `chunk ${request.chunk} is not to be had here now`)
    give(answer)
  }

  async #answerOfCopy(
    response: ServerResponse,
    chunk: number | undefined,
    { part, step }: CopyPlace,
    sign: Sign,
    give: (answer: GivenChunk) => void,
  ): Promise<void> {
    const refuse = () => answerWhy(response, 409, `no copy of part ${part} after step ${step} is kept here now`)
    if (chunk === undefined) {
      const shelf = this.#copies.get(part)
      const digest = shelf?.copies.digest(step)
      if (shelf === undefined || digest === undefined) return refuse()
      const { totalElems } = shelf.slots
      response.writeHead(204, {
        [names.step]: step,
        [names.digest]: digest,
        [names.elems]: totalElems,
        ...sign(`${step} ${digest} ${totalElems}`),
      })
      response.end()
      return
    }
    await this.#quiet()
    const answer = whole(this.#copies.get(part), chunk, step, this.#memory.until(response))
    if (answer === undefined) return refuse()
    give(answer)
  }

  #shelf(slots: StateSlots): Shelf {
    return {
      slots,
      steps: new SlotSteps(slots.memory, slots.steps),
      chunks: chunksOf(slots.totalElems, this.#options.chunkElems),
    }
  }

  #give(response: ServerResponse, answer: GivenChunk, token: string, sign: Sign): void {
    const nonce = newNonce()
    const tag = new BodyTag(token, nonce)
    tag.update(answer.body)
    this.#bytesSent += answer.body.byteLength
    response.writeHead(200, {
      'content-length': answer.body.byteLength,
      [names.kind]: answer.kind,
      [names.step]: answer.step,
      [names.nonce]: nonce,
      ...(answer.options === undefined ? {} : { [names.options]: answer.options }),
      ...sign([answer.kind, answer.step, nonce, tag.digest(), answer.options ?? ''].join(' ')),
    })
    response.end(answer.body)
  }

  /** Waits, for a bounded time, for a commit that the asker does not have. */
  async #newerThan(have: number | undefined, http: IncomingMessage): Promise<void> {
    if (have === undefined) return
    const waiting = new AbortController()
    const gone = () => waiting.abort()
    http.socket.once('close', gone)
    const timer = sleep(longPollMs, waiting.signal)
    timer.catch(() => undefined)
    let isOver = false
    const over = timer.then(
      () => (isOver = true),
      () => (isOver = true),
    )
    while (!isOver && this.#committed?.step === have) await Promise.race([over, this.#news.promise])
    waiting.abort()
    http.socket.off('close', gone)
  }

  async #quiet(): Promise<void> {
    const { isBusy = () => false } = this.#options
    for (let waitedMs = 0; waitedMs < quietMs && isBusy(); waitedMs += lookMs) await sleep(lookMs)
  }

  /** The next update, where it is recorded and not too many are lacking; else the whole state. */
  #chunk(index: number, have: number | undefined, memory: Float32Array<ArrayBuffer>): GivenChunk | undefined {
    const chunk = this.#trained?.chunks[index]
    const committed = this.#committed?.step
    if (chunk === undefined || committed === undefined || have === committed) return undefined
    if (have !== undefined && have < committed && committed - have <= updatesWorthAState) {
      const update = this.#history?.read(have + 1, chunk, memory)
      if (update !== undefined) {
        const { options, gradients } = update
        return { kind: 'update', step: have + 1, options: JSON.stringify(options), body: bytesOf(gradients) } as const
      }
    }
    return whole(this.#trained, index, committed, memory)
  }
}

type Sign = (said: string) => Readonly<Record<string, string>>

interface GivenChunk {
  readonly kind: 'state' | 'update'
  readonly step: number
  readonly options: string | undefined
  /** Lies in the memory of this answer. */
  readonly body: Uint8Array<ArrayBuffer>
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array<ArrayBuffer>) =>
  new Uint8Array(buffer, byteOffset, byteLength)

/** A chunk of the state after `step`; undefined where that is not there, or any more. */
function whole(
  shelf: Shelf | undefined,
  index: number,
  step: number,
  into: Float32Array<ArrayBuffer>,
): GivenChunk | undefined {
  const chunk = shelf?.chunks[index]
  const slot = shelf?.steps.slotOf(step)
  if (shelf === undefined || chunk === undefined || slot === undefined) return undefined
  const { offset, elems } = chunk
  const { memory, slots } = shelf.slots
  const values = into.subarray(0, 3 * elems)
  const { params, expAvg, expAvgSq } = slots[slot]
  for (const [i, { byteOffset }] of [params, expAvg, expAvgSq].entries()) {
    values.set(new Float32Array(memory.buffer, byteOffset + offset * 4, elems), i * elems)
  }
  // Overtaken by the training, or by the next copy, while it was copied: the asker asks again.
  if (shelf.steps.at(slot) !== step) return undefined
  return { kind: 'state', step, options: undefined, body: bytesOf(values) }
}

/** As many updates weigh as much as the state itself: a gradient against parameters and two moments. */
const updatesWorthAState = 3

/** Why not; a right proof is used up. */
function refusalOf(
  { token, askers }: Door,
  request: StateRequest,
  shown: RequestProof,
): readonly [RefusalReason, string] | undefined {
  if (!isSameProof(shown.proof, proofOf('ask', token, request, shown))) return ['badToken', 'the lane token is wrong']
  const last = askers.get(shown.asker)
  if (last !== undefined && shown.number <= last) return ['replayed', 'this proof was used before']
  if (last === undefined && askers.size >= maxAskers) return ['tooMany', 'too many have asked in this generation']
  askers.set(shown.asker, shown.number)
  return undefined
}

function answerWhy(response: ServerResponse, status: number, why: string): void {
  response.writeHead(status, { 'content-type': 'text/plain', [names.why]: why })
  response.end(`${why}\n`)
}
