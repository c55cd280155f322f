import { hash } from 'node:crypto'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { deferred, type Deferred, sleep } from '@skein/core'
import { type ConnectionGuard, isSameProof, type RefusalReason } from '@skein/transport'
import { type Chunk, chunksOf } from './chunks.ts'
import { type SharedState, SlotSteps } from './shared-state.ts'
import type { Standing } from './source.ts'
import { names, parseStateRequest, proofOf, type RequestProof, type StateRequest, statePath } from './state-request.ts'
import type { UpdateHistory } from './update-history.ts'

export interface StateServerOptions {
  /** Someone catches up: the updates are to be recorded from now on. Called at every request. */
  readonly onFollower: () => void
  /** Whether the link is needed for something more urgent: then a chunk waits, for a bounded time. Default: never. */
  readonly isBusy?: () => boolean
  readonly chunkElems?: number
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
  #state: SharedState | undefined
  #steps: SlotSteps | undefined
  #chunks: readonly Chunk[] = []
  #history: UpdateHistory | undefined
  #committed: Standing | undefined
  #news: Deferred<void> = deferred()
  #bytesSent = 0

  constructor(options: StateServerOptions) {
    this.#options = options
  }

  get bytesSent(): number {
    return this.#bytesSent
  }

  /** The state that is given from; before, everyone is refused. */
  serve(state: SharedState): void {
    this.#state = state
    this.#steps = new SlotSteps(state.memory, state.steps)
    this.#chunks = chunksOf(state.totalElems, this.#options.chunkElems)
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
    this.#options.onFollower()
    await this.#newerThan(request.have, http)
    const committed = this.#committed
    if (committed === undefined) return answerWhy(response, 409, 'no committed state is held here')
    const sign = (said: string) => ({ [names.answer]: proofOf('answer', token, request, shown, said) })
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
    const answer = this.#chunk(request.chunk, request.have)
    if (answer === undefined) return answerWhy(response, 409, `chunk ${request.chunk} is not to be had here now`)
    const sum = hash('sha256', answer.body, 'hex')
    this.#bytesSent += answer.body.byteLength
    response.writeHead(200, {
      'content-length': answer.body.byteLength,
      [names.kind]: answer.kind,
      [names.step]: answer.step,
      [names.hash]: sum,
      ...(answer.options === undefined ? {} : { [names.options]: answer.options }),
      ...sign([answer.kind, answer.step, sum, answer.options ?? ''].join(' ')),
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
  #chunk(index: number, have: number | undefined) {
    const chunk = this.#chunks[index]
    const committed = this.#committed?.step
    if (chunk === undefined || committed === undefined || have === committed) return undefined
    if (have !== undefined && have < committed && committed - have <= updatesWorthAState) {
      const update = this.#history?.read(have + 1, chunk)
      if (update !== undefined) {
        const { options, gradients } = update
        const body = Buffer.from(gradients.buffer)
        return { kind: 'update', step: have + 1, options: JSON.stringify(options), body } as const
      }
    }
    return this.#whole(chunk, committed)
  }

  #whole({ offset, elems }: Chunk, step: number) {
    const state = this.#state
    const slot = this.#steps?.slotOf(step)
    if (state === undefined || slot === undefined) return undefined
    const values = new Float32Array(3 * elems)
    const { params, expAvg, expAvgSq } = state.slots[slot]
    for (const [i, { byteOffset }] of [params, expAvg, expAvgSq].entries()) {
      values.set(new Float32Array(state.memory.buffer, byteOffset + offset * 4, elems), i * elems)
    }
    // Overtaken by the training while it was copied: the asker asks again.
    if (this.#steps?.at(slot) !== step) return undefined
    return { kind: 'state', step, options: undefined, body: Buffer.from(values.buffer) } as const
  }
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
