import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { EventFeed } from './event-feed.ts'

const linesPerRead = 256

/**
 * Writes the feed from number `from` on to `response`, one JSON object a line, until the run is over or the reader goes away.
 * Writes only as fast as the reader reads. Resolves when the last line is handed to the system, or the reader is gone; where the log
 * cannot be read it rejects, and breaks the connection: a reader that comes again goes on where it was.
 */
export async function streamEvents(feed: EventFeed, from: number, response: ServerResponse): Promise<void> {
  try {
    await writeEvents(feed, from, response)
  } catch (error) {
    response.destroy()
    throw error
  }
}

async function writeEvents(feed: EventFeed, from: number, response: ServerResponse): Promise<void> {
  if (response.destroyed) return
  const gone = new AbortController()
  // Not a promise to race against: one that stays pending for the whole run would keep a reaction of every wait.
  let wake: () => void = () => undefined
  const onGone = () => {
    gone.abort()
    wake()
  }
  response.on('close', onGone)
  response.on('error', onGone)
  response.writeHead(200, {
    'content-type': 'application/x-ndjson',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
    'x-skein-life': feed.life,
  })
  response.flushHeaders()
  let next = from
  while (!gone.signal.aborted) {
    // Taken before reading: what comes in between is not missed.
    const news = feed.news()
    const { isOver } = feed
    const lines = await feed.read(next, linesPerRead)
    if (lines.length > 0) {
      next += lines.length
      if (!response.write(`${lines.join('\n')}\n`)) {
        await once(response, 'drain', { signal: gone.signal }).catch(() => undefined)
      }
    } else if (isOver) {
      break
    } else {
      await new Promise<void>(resolve => {
        wake = resolve
        void news.then(resolve)
      })
    }
  }
  if (gone.signal.aborted) return
  await new Promise<void>(resolve => {
    wake = resolve
    response.end()
  })
}
