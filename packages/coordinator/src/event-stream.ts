import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { EventFeed } from './event-feed.ts'

const linesPerRead = 256

/**
 * Writes the feed from number `from` on to `response`, one JSON object a line, until the run is over or the reader goes away.
 * Writes only as fast as the reader reads. Resolves when the last line is handed to the system, or the reader is gone.
 */
export async function streamEvents(feed: EventFeed, from: number, response: ServerResponse): Promise<void> {
  const gone = new AbortController()
  const goneForGood = new Promise<void>(resolve =>
    gone.signal.addEventListener('abort', () => resolve(), { once: true }),
  )
  response.on('close', () => gone.abort())
  response.on('error', () => gone.abort())
  response.writeHead(200, {
    'content-type': 'application/x-ndjson',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  })
  response.flushHeaders()
  let next = from
  while (!gone.signal.aborted) {
    // Taken before reading: news that comes in between is not missed.
    const news = feed.news()
    const lines = feed.read(next, linesPerRead)
    if (lines.length > 0) {
      next += lines.length
      if (!response.write(`${lines.join('\n')}\n`)) {
        await once(response, 'drain', { signal: gone.signal }).catch(() => undefined)
      }
    } else if (feed.isOver) {
      break
    } else {
      await Promise.race([news, goneForGood])
    }
  }
  if (!gone.signal.aborted) {
    response.end()
    await goneForGood
  }
}
