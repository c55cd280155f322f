import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { type Deferred, deferred, within } from '@skein/core'
import { temporaryFolder } from '@skein/testkit'
import { expect, test } from 'vitest'
import { EventFeed } from './event-feed.ts'
import { streamEvents } from './event-stream.ts'
import { SqliteLog } from './sqlite-log.ts'

const numEvents = 3000
const event = (step: number) => ({ event: 'checkpoint', step, path: 'p'.repeat(500) }) as const

/** A feed of many events behind a real HTTP port; `stream` settles when the one stream has ended. */
async function serve(
  body: (parts: { feed: EventFeed; store: SqliteLog; url: string; stream: Deferred<void> }) => Promise<void>,
) {
  using folder = temporaryFolder('stream')
  const store = new SqliteLog(path.join(folder.path, 'log.sqlite'))
  store.beginLife({ runId: 'r', job: {}, resume: undefined, startStep: 0 })
  store.append(
    [],
    Array.from({ length: numEvents }, (_, i) => event(i)),
  )
  const feed = new EventFeed(store)
  const stream = deferred<void>()
  const server = http.createServer((_, response) => {
    streamEvents(feed, 10, response).then(
      () => stream.resolve(),
      (error: unknown) => stream.reject(error),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    await body({ feed, store, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, stream })
  } finally {
    server.closeAllConnections()
    server.close()
    store.close()
  }
}

const bounded = (promise: Promise<unknown>) => within(promise, { what: 'the stream', timeoutMs: 10_000 })

test('a reader that stops reading for a while gets every event once, in order, also those that came meanwhile', async () => {
  await serve(async ({ feed, store, url, stream }) => {
    const response = await new Promise<http.IncomingMessage>(resolve => http.get(url, resolve))
    // Nothing is read yet: 1.5 MB do not fit into the sockets' buffers, so the stream has to wait.
    store.append([], [event(numEvents)])
    feed.announce()
    feed.end()
    let text = ''
    for await (const chunk of response) text += String(chunk)
    await bounded(stream.promise)
    const steps = text
      .trimEnd()
      .split('\n')
      .map(line => (JSON.parse(line) as { step: number }).step)
    expect(steps).toEqual(Array.from({ length: numEvents + 1 - 10 }, (_, i) => i + 10))
  })
})

test('a reader that goes away ends its stream, while it waits for news and while it is written to', async () => {
  for (const reads of [true, false]) {
    await serve(async ({ url, stream }) => {
      const request = http.get(url)
      const [response] = (await once(request, 'response')) as [http.IncomingMessage]
      if (reads) {
        let bytes = 0
        for await (const chunk of response) {
          bytes += (chunk as Buffer).length
          if (bytes > (numEvents - 10) * 500) break
        }
      }
      request.destroy()
      await bounded(stream.promise)
    })
  }
})

test('a log that cannot be read breaks the connection of its readers, so that they come again', async () => {
  await serve(async ({ feed, store, url, stream }) => {
    const response = await new Promise<http.IncomingMessage>(resolve => http.get(url, resolve))
    const broken = once(response, 'error') as Promise<[unknown]>
    const failed = expect(bounded(stream.promise)).rejects.toMatchObject({ code: 'SKEIN_COORDINATOR_STORE_FAILED' })
    store.append([], [event(numEvents)])
    store.close()
    feed.announce()
    response.resume()
    expect(await bounded(broken)).toMatchObject([{ code: 'ECONNRESET' }])
    await failed
  })
})
