import { asSkeinError, SkeinError } from '@skein/core'
import { CoordinatorErrors } from '../errors.ts'

export interface EtcdValue {
  readonly key: string
  readonly value: string
  /** Revision at which the key came into being, anew after each deletion. */
  readonly createRevision: string
}

/** A key stands as it did at its creation at this revision; '0': there is no such key. */
export interface CreatedAt {
  readonly key: string
  readonly createRevision: string
}

export interface Put {
  readonly key: string
  readonly value: string
  readonly lease?: string
}

export interface Deletion {
  readonly key: string
  /** First key that stays; without it the key alone goes. */
  readonly end?: string
}

export interface RangeOptions {
  /** First key that is not wanted any more; without it the key alone. */
  readonly end?: string
  readonly limit?: number
  readonly isDescending?: boolean
}

/** A request longer than this is given up, in ms, and asked of the next endpoint. */
const requestMs = 2_000

/** The few calls of etcd's JSON gateway (v3) that a log and a lease need. Each is bounded; each endpoint is tried once. */
export class EtcdClient {
  readonly #endpoints: readonly string[]
  readonly #signal: AbortSignal | undefined
  #next = 0

  /** http(s) URLs, as of `--listen-client-urls`. */
  constructor(endpoints: readonly string[], signal?: AbortSignal) {
    this.#endpoints = endpoints.map(url => url.replace(/\/+$/, ''))
    this.#signal = signal
  }

  /** In the order of keys. @throws SKEIN_COORDINATOR_STORE_FAILED, as all of these */
  async range(key: string, { end, limit, isDescending = false }: RangeOptions = {}): Promise<EtcdValue[]> {
    const { kvs = [] } = (await this.#call('kv/range', {
      key: encode(key),
      ...(end === undefined ? {} : { range_end: encode(end) }),
      ...(limit === undefined ? {} : { limit: String(limit) }),
      ...(isDescending ? { sort_order: 'DESCEND', sort_target: 'KEY' } : {}),
    })) as { readonly kvs?: readonly RawValue[] }
    return kvs.map(raw => ({
      key: decode(raw.key),
      value: decode(raw.value ?? ''),
      createRevision: raw.create_revision,
    }))
  }

  /** Puts and deletes all where all compares hold; the revision of that, or undefined where they do not. No key may be in both. */
  async putIf(
    compares: readonly CreatedAt[],
    puts: readonly Put[],
    deletions: readonly Deletion[] = [],
  ): Promise<string | undefined> {
    const { succeeded = false, header } = (await this.#call('kv/txn', {
      compare: compares.map(({ key, createRevision }) => ({
        key: encode(key),
        target: 'CREATE',
        result: 'EQUAL',
        create_revision: createRevision,
      })),
      success: [
        ...puts.map(({ key, value, lease }) => ({
          request_put: { key: encode(key), value: encode(value), ...(lease === undefined ? {} : { lease }) },
        })),
        ...deletions.map(({ key, end }) => ({
          request_delete_range: { key: encode(key), ...(end === undefined ? {} : { range_end: encode(end) }) },
        })),
      ],
    })) as { readonly succeeded?: boolean; readonly header: { readonly revision: string } }
    return succeeded ? header.revision : undefined
  }

  async grantLease(ttlSeconds: number): Promise<string> {
    const { ID } = (await this.#call('lease/grant', { TTL: String(ttlSeconds) })) as { readonly ID: string }
    return ID
  }

  /** Whether the lease still is one. */
  async keepLease(lease: string): Promise<boolean> {
    const { result } = (await this.#call('lease/keepalive', { ID: lease })) as {
      readonly result?: { readonly TTL?: string }
    }
    return Number(result?.TTL ?? 0) > 0
  }

  async revokeLease(lease: string): Promise<void> {
    await this.#call('lease/revoke', { ID: lease })
  }

  async #call(method: string, body: unknown): Promise<unknown> {
    let failure: Failure | undefined
    for (let attempt = 0; attempt < this.#endpoints.length; attempt++) {
      const endpoint = this.#endpoints[this.#next % this.#endpoints.length] as string
      try {
        const { status, text } = await this.#post(`${endpoint}/v3/${method}`, body)
        if (status === 200) return JSON.parse(text)
        // One that says no is believed, also where the others do not answer.
        if (failure?.refusedWith === undefined) failure = failureOf(status, text)
      } catch (cause) {
        if (this.#signal?.aborted === true) throw asSkeinError(this.#signal.reason)
        failure ??= { reason: cause instanceof Error ? cause.message : String(cause), cause }
      }
      this.#next++
    }
    throw storeFailed(`etcd at ${this.#endpoints.join(', ')}`, method, failure)
  }

  async #post(url: string, body: unknown): Promise<{ readonly status: number; readonly text: string }> {
    const signals = [AbortSignal.timeout(requestMs), ...(this.#signal === undefined ? [] : [this.#signal])]
    const response = await fetch(url, { method: 'POST', body: JSON.stringify(body), signal: AbortSignal.any(signals) })
    return { status: response.status, text: await response.text() }
  }
}

/** Whether the same request may be answered later: etcd, or the way to it, failed, and did not say no. */
export function mayPass(thrown: unknown): boolean {
  const { code, details } = asSkeinError(thrown)
  return code === CoordinatorErrors.STORE_FAILED.code && details['refusedWith'] === undefined
}

interface Failure {
  readonly reason: string
  /** The HTTP status where etcd understood the request, and will say the same again. */
  readonly refusedWith?: number
  readonly cause?: unknown
}

/** gRPC's CANCELLED, in the two versions of the gateway. */
const cancelled = [408, 499]
/** Has the gRPC code of a quota that is used up, RESOURCE_EXHAUSTED, but means a server that is behind. */
const isBehind = 'etcdserver: too many requests'

function failureOf(status: number, text: string): Failure {
  const reason = `status ${status}: ${text.slice(0, 300)}`
  const isRefusal = status >= 400 && status < 500 && !cancelled.includes(status) && !text.includes(isBehind)
  return isRefusal ? { reason, refusedWith: status } : { reason }
}

function storeFailed(etcd: string, method: string, failure: Failure | undefined): SkeinError {
  const { reason = 'there is no endpoint', refusedWith, cause } = failure ?? {}
  const what = `${etcd} does not do ${method}: ${reason}`
  if (refusedWith === undefined) {
    return new SkeinError(CoordinatorErrors.STORE_FAILED, {
      what,
      why: 'it is not running, has no quorum, or cannot be reached from here',
      todo: 'see `etcdctl endpoint status`; what was committed before is kept',
      cause,
    })
  }
  return new SkeinError(CoordinatorErrors.STORE_FAILED, {
    what,
    why: 'its quota is used up (--quota-backend-bytes), the request is larger than it takes (--max-request-bytes), or not allowed',
    todo: 'see `etcdctl alarm list`, make room (compact, defrag, alarm disarm), then resume the run: what was committed before is kept',
    details: { refusedWith },
  })
}

interface RawValue {
  readonly key: string
  readonly value?: string
  readonly create_revision: string
}

const encode = (text: string): string => Buffer.from(text).toString('base64')
const decode = (base64: string): string => Buffer.from(base64, 'base64').toString()
