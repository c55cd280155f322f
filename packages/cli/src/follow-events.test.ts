import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { CliErrors } from './errors.ts'
import { askCoordinator, followEvents } from './follow-events.ts'
import { parseRunEvent, type RunEvent } from './run-event.ts'

const open = new Set<http.Server>()
afterEach(() => {
  for (const server of open) server.close().closeAllConnections()
  open.clear()
})

async function serve(onRequest: http.RequestListener): Promise<string> {
  const server = http.createServer(onRequest)
  open.add(server)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const events: readonly RunEvent[] = [
  { event: 'run', name: 'a' },
  { event: 'step', step: 1 },
  { event: 'step', step: 2 },
  { event: 'done', steps: 2 },
]

describe('following a run', () => {
  it('reads every event once across broken connections and lines split anywhere', async () => {
    const froms: number[] = []
    const url = await serve((request, response) => {
      const from = Number(new URL(request.url ?? '', 'http://x').searchParams.get('from'))
      froms.push(from)
      // One event a connection, with half of the next one, which does not count.
      const text = `${JSON.stringify(events[from])}\n{"event":"st`
      response.write(text.slice(0, 7))
      response.write(text.slice(7), () => response.destroy())
    })
    const seen: RunEvent[] = []
    const last = await followEvents({ url, onEvent: event => seen.push(event), retryMs: 1 })
    expect(seen).toEqual(events)
    expect(last).toEqual({ event: 'done', steps: 2 })
    expect(froms).toEqual([0, 1, 2, 3])
  })

  it('sends the token, and rejects with the coordinator’s own refusal at once', async () => {
    let asked = 0
    const url = await serve((request, response) => {
      asked++
      response.statusCode = request.headers.authorization === 'Bearer right' ? 200 : 401
      response.end(JSON.stringify({ error: { code: 'SKEIN_C_NO', what: 'no token', todo: 'send it' } }))
    })
    await expect(followEvents({ url, token: 'wrong', onEvent: () => undefined })).rejects.toMatchObject({
      code: 'SKEIN_C_NO',
      todo: 'send it',
    })
    expect(asked).toBe(1)
  })

  it('gives up on an address where nobody answers, after a bounded number of attempts', async () => {
    await expect(
      followEvents({ url: 'http://127.0.0.1:1', onEvent: () => undefined, maxRetries: 2, retryMs: 1 }),
    ).rejects.toMatchObject({ code: CliErrors.COORDINATOR_UNREACHABLE.code })
  })

  it('ends without an event when it is aborted', async () => {
    const url = await serve((_, response) => {
      response.write('{"event":"run"}\n')
    })
    const abort = new AbortController()
    const last = await followEvents({ url, signal: abort.signal, onEvent: () => abort.abort() })
    expect(last).toBeUndefined()
  })
})

describe('asking a coordinator', () => {
  it('says what is wrong with an address that is something else', async () => {
    const url = await serve((_, response) => {
      response.statusCode = 404
      response.end('<html>')
    })
    await expect(askCoordinator({ url, method: 'GET', path: '/status', timeoutMs: 5000 })).rejects.toMatchObject({
      code: CliErrors.COORDINATOR_REFUSED.code,
      details: { status: 404 },
    })
  })

  it('is bounded', async () => {
    const url = await serve(() => undefined)
    await expect(askCoordinator({ url, method: 'POST', path: '/stop', timeoutMs: 50 })).rejects.toMatchObject({
      code: CliErrors.COORDINATOR_UNREACHABLE.code,
    })
  })
})

describe('a line of the stream', () => {
  it('is an event only if it is an object with a name', () => {
    expect(parseRunEvent('{"event":"x","a":1}')).toEqual({ event: 'x', a: 1 })
    for (const line of ['', ' ', '[]', '1', 'null', '{"event":1}', '{}', '{"event":']) {
      expect(parseRunEvent(line)).toBeUndefined()
    }
  })
})
