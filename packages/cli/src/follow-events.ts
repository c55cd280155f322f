import http from 'node:http'
import https from 'node:https'
import { type ErrorRecord, SkeinError } from '@skein/core'
import { tlsClientOptions, tlsDialError, tlsNeeded, type TlsTrust } from '@skein/transport'
import { CliErrors } from './errors.ts'
import { parseRunEvent, type RunEvent } from './run-event.ts'

const maxBodyChars = 4_000_000

export interface FollowOptions {
  /** http(s) URL of the coordinator. */
  readonly url: string
  readonly token?: string
  /** For https. */
  readonly tls?: TlsTrust
  readonly onEvent: (event: RunEvent) => void
  readonly signal?: AbortSignal
  /** Attempts to connect again after a break, without an event in between, before giving up. Default 5. */
  readonly maxRetries?: number
  /** Between two attempts, ms. Default 200. */
  readonly retryMs?: number
}

/**
 * Reads the run's events in order, each once, until the `done` or `error` event, and resolves with it. A broken
 * connection goes on from the next event (`?from=k`). Returns undefined when the signal aborts.
 * @throws SKEIN_CLI_COORDINATOR_UNREACHABLE, SKEIN_CLI_COORDINATOR_REFUSED, SKEIN_TRANSPORT_TLS_…
 */
export async function followEvents(options: FollowOptions): Promise<RunEvent | undefined> {
  const { signal, maxRetries = 5, retryMs = 200 } = options
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
    let cause: unknown
    try {
      await readStream({ ...options, from, take })
    } catch (thrown) {
      if (thrown instanceof SkeinError) throw thrown
      cause = thrown
    }
    if (last !== undefined || signal?.aborted) return last
    failures++
    if (failures > maxRetries) throw unreachable(options.url, cause)
    await pause(retryMs, signal)
  }
  return last
}

/** One request; resolves when the server ends the stream, rejects when the connection breaks. */
function readStream(options: FollowOptions & { from: number; take: (event: RunEvent) => void }): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const { token, signal } = options
    const request = open(
      options,
      `/events?from=${options.from}`,
      {
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        ...(signal === undefined ? {} : { signal }),
      },
      response => {
        response.setEncoding('utf8')
        response.on('error', reject)
        if (response.statusCode !== 200) {
          readBody(response, body => reject(refused(options.url, response, body)))
          return
        }
        let rest = ''
        response.on('data', (text: string) => {
          const lines = (rest + text).split('\n')
          rest = lines.pop() ?? ''
          for (const line of lines) {
            const event = parseRunEvent(line)
            if (event !== undefined) options.take(event)
          }
        })
        response.on('end', resolve)
      },
    )
    request.on('error', cause => reject(tlsDialError(nameOf(options.url), cause) ?? cause))
    request.end()
  })
}

const nameOf = (url: string) => `the coordinator at ${url}`

/** A request that is not sent yet, in plain or over TLS as the URL says. */
function open(
  { url, tls }: { readonly url: string; readonly tls?: TlsTrust },
  path: string,
  options: http.RequestOptions,
  onResponse: (response: http.IncomingMessage) => void,
): http.ClientRequest {
  const target = new URL(path, url)
  if (target.protocol !== 'https:') return http.request(target, options, onResponse)
  return https.request(target, { ...options, ...(tls === undefined ? {} : tlsClientOptions(tls)) }, onResponse)
}

/** Asks the coordinator something: GET or POST a path, JSON back. @throws as {@link followEvents}, and after `timeoutMs` */
export function askCoordinator(options: {
  readonly url: string
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly token?: string
  readonly tls?: TlsTrust
  readonly timeoutMs: number
}): Promise<unknown> {
  return new Promise<unknown>((resolve, reject) => {
    const request = open(
      options,
      options.path,
      {
        method: options.method,
        headers: options.token === undefined ? {} : { authorization: `Bearer ${options.token}` },
        signal: AbortSignal.timeout(options.timeoutMs),
      },
      response => {
        response.setEncoding('utf8')
        response.on('error', cause => reject(unreachable(options.url, cause)))
        readBody(response, body => {
          const { statusCode = 0 } = response
          if (statusCode === 200 || statusCode === 202) resolve(body)
          else reject(refused(options.url, response, body))
        })
      },
    )
    request.on('error', cause => reject(tlsDialError(nameOf(options.url), cause) ?? unreachable(options.url, cause)))
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
