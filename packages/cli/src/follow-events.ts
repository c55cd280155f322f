import http from 'node:http'
import https from 'node:https'
import { type ErrorRecord, SkeinError } from '@skein/core'
import {
  attemptOfSeveralMs,
  dialInTurn,
  isStandby,
  refusedBy,
  tlsClientOptions,
  tlsDialError,
  tlsNeeded,
  type TlsTrust,
} from '@skein/transport'
import { CliErrors } from './errors.ts'
import { parseRunEvent, type RunEvent } from './run-event.ts'

const maxBodyChars = 4_000_000

/** Where the coordinators of a run are reached, and with what. */
interface Coordinators {
  /** http(s) URLs of the coordinators that may lead the run; at least one. */
  readonly urls: readonly string[]
  readonly token?: string
  /** For https. */
  readonly tls?: TlsTrust
}

export interface FollowOptions extends Coordinators {
  readonly onEvent: (event: RunEvent) => void
  /** Another coordinator leads than before, or it was started again; its events come from its first one on. */
  readonly onLeader?: (url: string) => void
  readonly signal?: AbortSignal
  /** Attempts to connect again after a break, without an event in between, before giving up where nobody stands by. Default 5. */
  readonly maxRetries?: number
  /** Between two attempts, ms. Default 200. */
  readonly retryMs?: number
  /** For one that stands by to take the lead, in ms. Default 60 s. */
  readonly standbyMs?: number
  /** Of several, one that says nothing for so long, in ms, is asked whether it is still there. Default 5 s. */
  readonly silentMs?: number
}

/**
 * Reads the run's events in order, each once, until the `done` or `error` event, and resolves with it. A broken connection goes on from the
 * next event (`?from=k`); where another coordinator leads then, or the same one in another life, it counts its own events, and they are
 * read from its first one on.
 * Returns undefined when the signal aborts.
 * @throws SKEIN_CLI_COORDINATOR_UNREACHABLE, SKEIN_CLI_COORDINATOR_REFUSED, SKEIN_TRANSPORT_STANDBY, SKEIN_TRANSPORT_TLS_…
 */
export async function followEvents(options: FollowOptions): Promise<RunEvent | undefined> {
  const { urls, signal, maxRetries = 5, retryMs = 200, standbyMs = 60_000 } = options
  const maxSilences = Math.ceil(standbyMs / retryMs)
  let leader: string | undefined
  let life: string | undefined
  let from = 0
  let failures = 0
  let last: RunEvent | undefined
  const take = (event: RunEvent) => {
    from++
    failures = 0
    options.onEvent(event)
    if (event.event === 'done' || event.event === 'error') last = event
  }
  while (!signal?.aborted) {
    let failure: SkeinError
    try {
      const known = leader === undefined ? urls : [leader, ...urls]
      const stream = await dialInTurn(known, url => openStream(options, url, url === leader ? from : 0), isPassing)
      if (stream.url !== leader || stream.life !== life) {
        if (leader !== undefined) options.onLeader?.(stream.url)
        leader = stream.url
        life = stream.life
        from = 0
        if (stream.from > 0) {
          // By a number of the life before.
          stream.response.destroy()
          continue
        }
      }
      await readEvents(stream, options, take)
      failure = unreachable(stream.url, undefined)
    } catch (thrown) {
      if (!(thrown instanceof SkeinError) || thrown.retry !== 'same-op') throw thrown
      failure = thrown
    }
    if (last !== undefined || signal?.aborted) return last
    failures++
    if (failures > (isStandby(failure) ? maxSilences : maxRetries)) throw failure
    await pause(retryMs, signal)
  }
  return last
}

interface EventStream {
  readonly url: string
  /** Of the coordinator, since it was started; older ones do not tell. */
  readonly life: string | undefined
  /** Number of its first event. */
  readonly from: number
  readonly response: http.IncomingMessage
}

/** Resolves with the head of the answer. One of several that does not answer is given up, one alone is waited for. */
function openStream(options: FollowOptions, url: string, from: number): Promise<EventStream> {
  const { urls, token, signal } = options
  return new Promise<EventStream>((resolve, reject) => {
    const request = open(
      url,
      options.tls,
      `/events?from=${from}`,
      {
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        ...(signal === undefined ? {} : { signal }),
      },
      response => {
        clearTimeout(tooLate)
        response.on('error', cause => reject(unreachable(url, cause)))
        const life = response.headers['x-skein-life']?.toString()
        if (response.statusCode === 200) resolve({ url, life, from, response })
        else readBody(response, body => reject(refused(url, response, body)))
      },
    )
    const giveUp = () => request.destroy(new Error(`no answer within ${attemptOfSeveralMs} ms`))
    const tooLate = urls.length > 1 ? setTimeout(giveUp, attemptOfSeveralMs) : undefined
    request.on('error', cause => {
      clearTimeout(tooLate)
      reject(tlsDialError(nameOf(url), cause) ?? unreachable(url, cause))
    })
    request.end()
  })
}

/** Resolves when the server ends the stream, rejects when the connection breaks. */
function readEvents(stream: EventStream, options: FollowOptions, take: (event: RunEvent) => void): Promise<void> {
  const { url, response } = stream
  return new Promise<void>((resolve, reject) => {
    const stopWatching = options.urls.length > 1 ? watchSilence(stream, options) : () => undefined
    let rest = ''
    response.setEncoding('utf8')
    response.on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const event = parseRunEvent(line)
        if (event !== undefined) take(event)
      }
    })
    response.on('error', cause => reject(cause instanceof SkeinError ? cause : unreachable(url, cause)))
    response.on('end', resolve)
    response.on('close', () => {
      stopWatching()
      reject(unreachable(url, undefined))
    })
  })
}

/** Breaks the stream of a coordinator that was stopped: a run may be silent for long, but its coordinator always answers. */
function watchSilence({ url, response }: EventStream, { tls, silentMs = 5_000 }: FollowOptions): () => void {
  let isHeard = true
  let isAsking = false
  response.on('data', () => {
    isHeard = true
  })
  const timer = setInterval(() => {
    const isSilent = !isHeard
    isHeard = false
    if (!isSilent || isAsking) return
    isAsking = true
    const question = { url, method: 'GET', path: '/healthz', timeoutMs: attemptOfSeveralMs } as const
    ask({ ...question, ...(tls === undefined ? {} : { tls }) }).then(
      () => {
        isAsking = false
      },
      (error: Error) => response.destroy(error),
    )
  }, silentMs)
  return () => clearInterval(timer)
}

/** Another coordinator may do: one that answers with something else can be one that ends. */
const isPassing = ({ code, retry }: SkeinError): boolean =>
  retry === 'same-op' || code === CliErrors.COORDINATOR_REFUSED.code

const nameOf = (url: string) => `the coordinator at ${url}`

/** A request that is not sent yet, in plain or over TLS as the URL says. */
function open(
  url: string,
  tls: TlsTrust | undefined,
  path: string,
  options: http.RequestOptions,
  onResponse: (response: http.IncomingMessage) => void,
): http.ClientRequest {
  const target = new URL(path, url)
  if (target.protocol !== 'https:') return http.request(target, options, onResponse)
  return https.request(target, { ...options, ...(tls === undefined ? {} : tlsClientOptions(tls)) }, onResponse)
}

interface Question {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly token?: string
  readonly tls?: TlsTrust
  readonly timeoutMs: number
}

/**
 * Asks the coordinator that leads something: GET or POST a path, JSON back. Of several each is waited for at most some seconds.
 * @throws as {@link followEvents}, and after `timeoutMs`
 */
export function askCoordinator(options: Question & Coordinators): Promise<unknown> {
  const { urls, ...question } = options
  const timeoutMs = urls.length > 1 ? Math.min(attemptOfSeveralMs, question.timeoutMs) : question.timeoutMs
  return dialInTurn(urls, url => ask({ ...question, url, timeoutMs }), isPassing)
}

function ask(options: Question & { readonly url: string }): Promise<unknown> {
  const { url, tls, token } = options
  return new Promise<unknown>((resolve, reject) => {
    const request = open(
      url,
      tls,
      options.path,
      {
        method: options.method,
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        signal: AbortSignal.timeout(options.timeoutMs),
      },
      response => {
        response.setEncoding('utf8')
        response.on('error', cause => reject(unreachable(url, cause)))
        readBody(response, body => {
          const { statusCode = 0 } = response
          if (statusCode === 200 || statusCode === 202) resolve(body)
          else reject(refused(url, response, body))
        })
      },
    )
    request.on('error', cause => reject(tlsDialError(nameOf(url), cause) ?? unreachable(url, cause)))
    request.end()
  })
}

function unreachable(url: string, cause: unknown): SkeinError {
  const reason = cause instanceof Error ? (cause.message === '' ? cause.name : cause.message) : 'the stream ended early'
  return new SkeinError(CliErrors.COORDINATOR_UNREACHABLE, {
    what: `no coordinator answers at ${url}: ${reason}`,
    why: 'it is not running, the run is over, or the address or port is another',
    todo: 'compare the address with the "listening" line of `skein coordinator`, and see whether a firewall is between',
    details: { url },
    cause,
  })
}

/** The body as JSON, undefined where it is none. Longer ones than a coordinator sends are cut off, and so none. */
function readBody(response: http.IncomingMessage, take: (body: unknown) => void): void {
  let text = ''
  response.on('data', (more: string) => {
    if (text.length < maxBodyChars) text += more
  })
  response.on('end', () => {
    try {
      take(JSON.parse(text))
    } catch {
      take(undefined)
    }
  })
}

/** The coordinator's own error where it sent one. */
function refused(url: string, { statusCode: status = 0, headers }: http.IncomingMessage, body: unknown): SkeinError {
  if (status === 426 && headers.upgrade?.startsWith('TLS/') === true) return tlsNeeded(nameOf(url))
  if (status === 421 && headers['x-skein-reason'] !== undefined) return refusedBy(nameOf(url), status, headers)
  const record = (body as { readonly error?: Partial<ErrorRecord> } | undefined)?.error
  if (typeof record?.code === 'string' && typeof record.what === 'string' && typeof record.todo === 'string') {
    return SkeinError.fromJSON({ retry: 'never', details: {}, ...(record as Omit<ErrorRecord, 'retry' | 'details'>) })
  }
  return new SkeinError(CliErrors.COORDINATOR_REFUSED, {
    what: `${url} answered with HTTP status ${status}`,
    why: 'it may not be a coordinator of Skein',
    todo: 'compare the address with the "listening" line of `skein coordinator`',
    details: { url, status },
  })
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise(resolve => {
    const end = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal?.addEventListener('abort', end, { once: true })
  })
}
