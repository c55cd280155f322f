import { createHash } from 'node:crypto'
import { SkeinError, sleep } from '@skein/core'
import { AwsClient } from 'aws4fetch'
import { CheckpointErrors } from './errors.ts'
import { isS3, type StoreEnvironment } from './location.ts'
import {
  byStepDescending,
  checkpointFolderPattern,
  type Manifest,
  manifestFileName,
  manifestSchema,
} from './manifest.ts'
import { isOfPartUpTo, writerSuffix } from './shards.ts'
import type { CheckpointStore } from './store.ts'

/** Of requests that a server puts off (5xx, 429), and of those whose connection is lost, with growing pauses. */
const retries = 4
const firstPauseMs = 100
const requestMs = 120_000

/**
 * Checkpoints as objects below `s3://bucket/prefix`. The manifest's object is put last and taken away first, and names every shard with
 * length and SHA-256: a checkpoint is whole or not there. Shards have names of their writer alone: one manifest takes the place of another. Each PUT carries the SHA-256 of its body, so that the server refuses what was
 * changed on the way. @throws SKEIN_CHECKPOINT_S3
 */
export function s3Store(location: string, environment: StoreEnvironment): CheckpointStore {
  const { bucketUrl, prefix, query } = placeOf(location, environment)
  const client = new AwsClient({
    ...credentials(location, environment),
    service: 's3',
    retries,
    initRetryMs: firstPauseMs,
  })
  const keyOf = (name: string, file: string) => `${prefix}${name}/${file}`
  const request = async (
    method: string,
    key: string,
    init: RequestInit & { readonly search?: Readonly<Record<string, string>> } = {},
  ) => {
    const { search, ...rest } = init
    const url = new URL(`${bucketUrl}/${key.split('/').map(encodeURIComponent).join('/')}`)
    if (search !== undefined) url.search = queryOf(search)
    const timeout = AbortSignal.timeout(requestMs)
    const signal = rest.signal ? AbortSignal.any([rest.signal, timeout]) : timeout
    let response: Response | undefined
    // Each is the same when it is done twice.
    for (let retry = 0; response === undefined; retry++) {
      try {
        response = await client.fetch(url, { ...rest, method, signal })
      } catch (cause) {
        rest.signal?.throwIfAborted()
        if (retry === retries || timeout.aborted) {
          throw failed(`${method} ${url.href}`, cause instanceof Error ? causeOf(cause) : String(cause), cause)
        }
        await sleep(firstPauseMs * 2 ** retry, signal)
      }
    }
    if (response.ok || response.status === 404) return response
    throw failed(`${method} ${url.href}`, `${response.status} ${(await response.text()).slice(0, 300)}`)
  }
  const put = async (key: string, body: Uint8Array<ArrayBuffer>, sha256: string, signal?: AbortSignal) => {
    const headers = { 'x-amz-content-sha256': sha256 }
    const response = await request('PUT', key, { body, headers, ...(signal && { signal }) })
    if (response.status === 404) throw failed(`PUT ${key}`, await response.text())
  }
  const drop = async (key: string) => void (await request('DELETE', key)).body?.cancel()
  /** Keys below `below`, without the prefix; with `delimiter` the names of the next level. */
  const list = async (below: string, delimiter?: string): Promise<string[]> => {
    const found: string[] = []
    for (let token: string | undefined; ; ) {
      const search = {
        'list-type': '2',
        prefix: `${prefix}${below}`,
        ...(delimiter === undefined ? {} : { delimiter }),
        ...(token === undefined ? {} : { 'continuation-token': token }),
      }
      const response = await request('GET', '', { search })
      const xml = await response.text()
      if (response.status === 404) throw failed(`listing ${location}`, xml)
      const fields = delimiter === undefined ? /<Key>([^<]*)<\/Key>/gu : /<Prefix>([^<]*)<\/Prefix>/gu
      for (const [, text = ''] of xml.matchAll(fields)) {
        const key = unescapeXml(text)
        if (key.length > prefix.length && key.startsWith(prefix)) found.push(key.slice(prefix.length))
      }
      token = /<NextContinuationToken>([^<]*)</u.exec(xml)?.[1]
      if (token === undefined) return found
      token = unescapeXml(token)
    }
  }
  const remove = async (name: string) => {
    await drop(keyOf(name, manifestFileName))
    for (const key of await list(`${name}/`)) await drop(`${prefix}${key}`)
  }
  const write = async (name: string, file: string, parts: Iterable<Uint8Array>, signal?: AbortSignal) => {
    const body = joined(parts)
    const sha256 = sha256Of(body)
    await put(keyOf(name, file), body, sha256, signal)
    return { bytes: body.length, sha256 }
  }
  const sizeOf = async (name: string, file: string) => {
    const response = await request('HEAD', keyOf(name, file))
    return response.status === 404 ? undefined : Number(response.headers.get('content-length'))
  }
  const readAll = async (name: string, file: string): Promise<Uint8Array | undefined> => {
    const response = await request('GET', keyOf(name, file))
    return response.status === 404 ? undefined : new Uint8Array(await response.arrayBuffer())
  }
  /** Files of the checkpoint that is there; none where there is none. */
  const filesOf = async (name: string): Promise<readonly string[]> => {
    const text = Buffer.from((await readAll(name, manifestFileName)) ?? []).toString('utf8')
    return manifestOrNone(text)?.files.map(file => file.name) ?? []
  }
  const dropAll = async (name: string, files: Iterable<string>, but: readonly string[]) => {
    for (const file of files) if (!but.includes(file)) await drop(keyOf(name, file))
  }
  const listed = async (name: string) => (await list(`${name}/`)).map(key => key.slice(name.length + 1))
  /**
   * The manifest over the one that is there, and what can go then. Another writer may do the same meanwhile: no file goes but of the manifest that this one
   * has replaced, or that `isLeft`; and none that the manifest names which is there in the end.
   */
  const publishing = (name: string, isLeft: (file: string) => boolean) => {
    let replaced: readonly string[] = []
    return {
      async publish(manifest: Uint8Array, files: readonly string[]) {
        // Of a writer that was put out and stopped for long, another one may have removed them.
        for (const file of files)
          if ((await sizeOf(name, file)) === undefined)
            throw failed(`HEAD ${keyOf(name, file)}`, 'what was written is not there any more')
        replaced = await filesOf(name)
        const body = joined([manifest])
        await put(keyOf(name, manifestFileName), body, sha256Of(body))
      },
      async tidy() {
        await dropAll(name, [...replaced, ...(await listed(name)).filter(isLeft)], await filesOf(name))
      },
    }
  }
  return {
    location,
    locationOf: name => `${location.split('?')[0]?.replace(/\/+$/u, '')}/${name}${query}`,
    folderOf: () => undefined,
    async names() {
      const names = (await list('', '/')).map(name => name.replace(/\/$/u, ''))
      return names.filter(name => checkpointFolderPattern.test(name)).sort(byStepDescending)
    },
    sizeOf,
    async *read(name, file, signal) {
      const response = await request('GET', keyOf(name, file), signal && { signal })
      if (response.status === 404) throw failed(`GET ${keyOf(name, file)}`, 'there is no such object')
      try {
        for await (const piece of response.body ?? []) yield piece as Uint8Array
      } catch (cause) {
        signal?.throwIfAborted()
        throw failed(`GET ${keyOf(name, file)}`, cause instanceof Error ? causeOf(cause) : String(cause), cause)
      }
    },
    // In files of its own: those that the manifest names which is there stay as they are until there is another one.
    async begin(name) {
      const written: string[] = []
      const own = publishing(name, () => false)
      return {
        suffix: writerSuffix(),
        write(file, parts, signal) {
          written.push(file)
          return write(name, file, parts, signal)
        },
        publish: manifest => own.publish(manifest, written),
        tidy: () => own.tidy(),
        async discard() {
          await filesOf(name)
            .then(named => dropAll(name, written, named))
            .catch(() => undefined)
        },
      }
    },
    async join(name, generation) {
      const isLeft = (file: string) => isOfPartUpTo(generation, file)
      return {
        ...publishing(name, isLeft),
        write: (file, parts, signal) => write(name, file, parts, signal),
        sizeOf: file => sizeOf(name, file),
        async read(file) {
          const read = await readAll(name, file)
          if (read === undefined) throw failed(`GET ${keyOf(name, file)}`, 'there is no such object')
          return read
        },
        async remove(files) {
          for (const file of files) await drop(keyOf(name, file)).catch(() => undefined)
        },
        async discard() {
          await Promise.all([listed(name), filesOf(name)])
            .then(([files, named]) => dropAll(name, files.filter(isLeft), named))
            .catch(() => undefined)
        },
      }
    },
    remove,
  }
}

/** One that is damaged vouches for nothing. */
function manifestOrNone(text: string): Manifest | undefined {
  try {
    return manifestSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

/** The address of the bucket: path style below an endpoint, virtual hosts at Amazon. */
function placeOf(location: string, environment: StoreEnvironment) {
  const url = URL.parse(location)
  if (!isS3(location) || url === null || url.hostname === '') {
    throw failed(location, 'it names no bucket', undefined, 'give s3://BUCKET/PREFIX, if need be with ?endpoint=URL')
  }
  const endpoint =
    url.searchParams.get('endpoint') ?? environment['AWS_ENDPOINT_URL_S3'] ?? environment['AWS_ENDPOINT_URL']
  const region = regionOf(environment)
  const bucketUrl =
    endpoint === undefined || endpoint === ''
      ? `https://${url.hostname}.s3.${region}.amazonaws.com`
      : `${endpoint.replace(/\/+$/u, '')}/${url.hostname}`
  const folder = decodeURIComponent(url.pathname).replace(/^\/+|\/+$/gu, '')
  return { bucketUrl, prefix: folder === '' ? '' : `${folder}/`, query: url.search }
}

const regionOf = (environment: StoreEnvironment) =>
  environment['AWS_REGION'] ?? environment['AWS_DEFAULT_REGION'] ?? 'us-east-1'

function credentials(location: string, environment: StoreEnvironment) {
  const accessKeyId = environment['AWS_ACCESS_KEY_ID']
  const secretAccessKey = environment['AWS_SECRET_ACCESS_KEY']
  if (!accessKeyId || !secretAccessKey) {
    const missing = accessKeyId ? 'AWS_SECRET_ACCESS_KEY' : 'AWS_ACCESS_KEY_ID'
    const todo = `set ${missing} for every process that reads or writes checkpoints (workers and the command line)`
    throw failed(location, `${missing} is not set`, undefined, todo)
  }
  const sessionToken = environment['AWS_SESSION_TOKEN']
  return { accessKeyId, secretAccessKey, region: regionOf(environment), ...(sessionToken && { sessionToken }) }
}

/** A blank as %20: a plus, as URLSearchParams writes it, is a plus to S3, and the signature would not fit. */
function queryOf(search: Readonly<Record<string, string>>): string {
  return Object.entries(search)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join('&')
}

/** One buffer of its own: what is shared with the training cannot be a request's body. */
function joined(parts: Iterable<Uint8Array>): Uint8Array<ArrayBuffer> {
  const all = [...parts]
  const body = new Uint8Array(all.reduce((bytes, part) => bytes + part.length, 0))
  let at = 0
  for (const part of all) {
    body.set(part, at)
    at += part.length
  }
  return body
}

const sha256Of = (body: Uint8Array) => createHash('sha256').update(body).digest('hex')

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }
const unescapeXml = (text: string) =>
  text.replace(/&(amp|lt|gt|quot|apos);/gu, (_, name: string) => entities[name] ?? '')

/** fetch says "fetch failed" and keeps the reason one level below. */
function causeOf(error: Error): string {
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message
}

function failed(what: string, answer: string, cause?: unknown, todo?: string): SkeinError {
  return new SkeinError(CheckpointErrors.S3, {
    what: `S3 refused or did not answer, ${what}: ${answer}`,
    why: 'the bucket, the endpoint, the credentials or the network are not right, or the storage is full',
    todo: todo ?? 'check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and the endpoint; the bucket must exist',
    ...(cause === undefined ? {} : { cause }),
  })
}
