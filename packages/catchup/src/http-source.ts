import http from 'node:http'
import https from 'node:https'
import { SkeinError } from '@skein/core'
import type { AdamwOptions } from '@skein/simd'
import { isSameProof, type TlsTrust, tlsClientOptions } from '@skein/transport'
import { BodyTag, isNonce } from './body-tag.ts'
import type { Chunk } from './chunks.ts'
import { CatchupErrors } from './errors.ts'
import type { ChunkAnswer, CopyPlace, CopySource, CopyStanding, Standing, StateSource } from './source.ts'
import { names, newAsker, numberIn, pathOf, proofOf, requestHeaders, type StateRequest } from './state-request.ts'

export interface HttpSourceOptions {
  /** For messages. */
  readonly name: string
  /** Who asks, for the peer's eyes. */
  readonly workerId: string
  readonly address: {
    readonly host: string
    readonly port: number /** A Unix socket instead. */
    readonly path?: string
  }
  readonly generation: number
  readonly token: string
  readonly tls?: TlsTrust
  /** Longest silence within a request, in ms: longer than its wait for a commit. Default 3 s. */
  readonly timeoutMs?: number
}

/** Two copies of more are not reached by 32 bits. */
const maxCopyElems = 2 ** 32 / 24

interface Answer {
  readonly headers: http.IncomingHttpHeaders
  readonly body: Buffer<ArrayBuffer>
  /** Of the body; empty where it has none. */
  readonly tag: string
}

/** A peer's `StateServer` over HTTP, one request at a time on one connection. To be closed. */
export class HttpSource implements StateSource {
  readonly name: string
  readonly #options: HttpSourceOptions
  readonly #agent: http.Agent | https.Agent
  readonly #asker = newAsker()
  #number = 0
  #bytesReceived = 0
  /** For bodies, one after the other: new memory for each would have the garbage collector busy. */
  #memory = Buffer.alloc(0)
  #numHeard = 0
  #trouble: SkeinError | undefined

  constructor(options: HttpSourceOptions) {
    this.name = options.name
    this.#options = options
    const { tls } = options
    const limits = { keepAlive: true, maxSockets: 2 }
    // A Unix socket is its folder's, and speaks what the port speaks.
    this.#agent = tls === undefined ? new http.Agent(limits) : new https.Agent({ ...limits, ...tlsClientOptions(tls) })
  }

  get bytesReceived(): number {
    return this.#bytesReceived
  }

  /** Grows with every sign that state can be had here: an answer, or a part of one. */
  get numHeard(): number {
    return this.#numHeard
  }

  /** Why the last request failed; undefined after one that did not. */
  get trouble(): SkeinError | undefined {
    return this.#trouble
  }

  /** The same peer, of which a copy is asked for instead of the state it trains; closed with this one. */
  ofCopy(copy: CopyPlace): CopySource {
    return {
      name: this.name,
      standing: (_, signal) => this.#copyStanding(copy, signal),
      chunk: (chunk, _, signal) => this.#askChunk(chunk, { have: undefined, copy }, signal),
    }
  }

  async standing(have: number | undefined, signal: AbortSignal): Promise<Standing> {
    const request: StateRequest = { generation: this.#options.generation, chunk: undefined, have }
    const said = ({ headers: h }: Answer) => [h[names.step], h[names.digest]].join(' ')
    const { headers } = await this.#noting(this.#get(request, 0, signal, said))
    const step = numberIn(headers[names.step])
    const digest = headers[names.digest]
    if (step === undefined || typeof digest !== 'string') throw this.#bad('without step or digest')
    return { step, digest }
  }

  async #copyStanding(copy: CopyPlace, signal: AbortSignal): Promise<CopyStanding> {
    const { generation } = this.#options
    const said = ({ headers: h }: Answer) => [h[names.step], h[names.digest], h[names.elems]].join(' ')
    const { headers } = await this.#noting(
      this.#get({ generation, copy, chunk: undefined, have: undefined }, 0, signal, said),
    )
    const digest = headers[names.digest]
    const totalElems = numberIn(headers[names.elems])
    const isOfStep = numberIn(headers[names.step]) === copy.step
    if (!isOfStep || typeof digest !== 'string' || totalElems === undefined || totalElems > maxCopyElems)
      throw this.#bad(`that is not of a copy of step ${copy.step}`)
    return { step: copy.step, digest, totalElems }
  }

  chunk(chunk: Chunk, have: number | undefined, signal: AbortSignal): Promise<ChunkAnswer> {
    return this.#askChunk(chunk, { have }, signal)
  }

  async #askChunk(
    { index, elems }: Chunk,
    of: Pick<StateRequest, 'have' | 'copy'>,
    signal: AbortSignal,
  ): Promise<ChunkAnswer> {
    const request: StateRequest = { generation: this.#options.generation, chunk: index, ...of }
    const said = ({ headers: h, tag }: Answer) =>
      [h[names.kind], h[names.step], h[names.nonce], tag, h[names.options] ?? ''].join(' ')
    const { headers, body } = await this.#noting(this.#get(request, 3 * elems * 4, signal, said))
    const step = numberIn(headers[names.step])
    const values = new Float32Array(body.buffer, body.byteOffset, body.byteLength / 4)
    if (headers[names.kind] === 'state' && step !== undefined && values.length === 3 * elems)
      return { kind: 'state', step, values }
    const options = headers[names.options]
    if (headers[names.kind] === 'update' && typeof options === 'string' && values.length === elems)
      return { kind: 'update', options: JSON.parse(options) as AdamwOptions, values }
    throw this.#bad(`with ${body.byteLength} B of kind ${String(headers[names.kind])} for chunk ${index}`)
  }

  close(): void {
    this.#agent.destroy()
  }

  /** How a request ended. */
  async #noting(asked: Promise<Answer>): Promise<Answer> {
    try {
      const answer = await asked
      this.#numHeard++
      this.#trouble = undefined
      return answer
    } catch (thrown) {
      if (thrown instanceof SkeinError) this.#trouble = thrown
      throw thrown
    }
  }

  /** `said`: what the peer vouches for, of which the tag of the body, made here, is a part. */
  async #get(
    request: StateRequest,
    maxBytes: number,
    signal: AbortSignal,
    said: (answer: Answer) => string,
  ): Promise<Answer> {
    const { token } = this.#options
    const number = ++this.#number
    const response = await this.#send(request, number, signal)
    const { headers, statusCode } = response
    const { body, tag } = await this.#read(response, maxBytes)
    if (statusCode !== 200 && statusCode !== 204) {
      throw new SkeinError(CatchupErrors.REFUSED, {
        what: `${this.name} gives no state: ${String(headers[names.why] ?? `status ${statusCode}`)}`,
        why: 'its generation is over or has not begun, or nothing newer is committed',
        todo: 'nothing; it is asked again, or another one is',
        details: { statusCode },
      })
    }
    const answer = { headers, body, tag }
    const wanted = proofOf('answer', token, request, { asker: this.#asker, number }, said(answer))
    if (!isSameProof(headers[names.answer], wanted))
      throw this.#bad('whose proof is not that of the run, or of its bytes')
    return answer
  }

  #send(request: StateRequest, number: number, signal: AbortSignal): Promise<http.IncomingMessage> {
    const { address, token, tls, workerId, timeoutMs = 3_000 } = this.#options
    return new Promise((resolve, reject) => {
      const sent = (tls === undefined ? http : https).get({
        agent: this.#agent,
        ...(address.path === undefined ? { host: address.host, port: address.port } : { socketPath: address.path }),
        path: pathOf(request),
        headers: {
          ...requestHeaders(request, token, this.#asker, number),
          [names.worker]: encodeURIComponent(workerId),
        },
        timeout: timeoutMs,
        signal,
      })
      sent.on('timeout', () => sent.destroy(new Error(`nothing came for ${timeoutMs} ms`)))
      sent.on('error', cause => reject(this.#unreachable(cause)))
      sent.on('response', resolve)
    })
  }

  async #read(response: http.IncomingMessage, maxBytes: number): Promise<Pick<Answer, 'body' | 'tag'>> {
    const length = numberIn(response.headers['content-length']) ?? 0
    const isAnswer = response.statusCode === 200
    if (isAnswer && length > maxBytes) {
      response.destroy()
      throw this.#bad(`of ${length} B, at most ${maxBytes} are expected`)
    }
    const nonce = response.headers[names.nonce]
    if (isAnswer && !isNonce(nonce)) {
      response.destroy()
      throw this.#bad('without a nonce')
    }
    const bodyTag = isNonce(nonce) ? new BodyTag(this.#options.token, nonce) : undefined
    const body = this.#bodyOf(isAnswer ? length : 0)
    let filled = 0
    try {
      for await (const part of response as AsyncIterable<Buffer>) {
        if (!isAnswer) continue
        if (filled + part.length > length) throw this.#bad(`of more than its ${length} B`)
        body.set(part, filled)
        bodyTag?.update(part)
        filled += part.length
        this.#numHeard++
      }
    } catch (cause) {
      throw this.#unreachable(cause)
    }
    if (isAnswer && filled < length) throw this.#bad(`that ends after ${filled} of ${length} B`)
    this.#bytesReceived += filled
    return { body, tag: bodyTag?.digest() ?? '' }
  }

  /** Valid until the next request. */
  #bodyOf(bytes: number): Buffer<ArrayBuffer> {
    if (this.#memory.byteLength < bytes) this.#memory = Buffer.from(new ArrayBuffer(bytes))
    return this.#memory.subarray(0, bytes)
  }

  #unreachable(cause: unknown): SkeinError {
    if (cause instanceof SkeinError) return cause
    return new SkeinError(CatchupErrors.REFUSED, {
      what: `the connection to ${this.name} broke: ${cause instanceof Error ? cause.message : String(cause)}`,
      why: 'it has died or left, or cannot be reached from here',
      todo: 'nothing; it is asked again, or another one is',
      cause,
    })
  }

  #bad(how: string): SkeinError {
    return new SkeinError(CatchupErrors.BAD_ANSWER, {
      what: `${this.name} gave an answer ${how}`,
      why: 'it runs another version of Skein, something else listens there, or bytes were changed on the way',
      todo: 'nothing if it is rare; else install the same version everywhere, or use TLS',
    })
  }
}
