import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { TransportErrors } from '@skein/transport'
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
    const last = await followEvents({ urls: [url], onEvent: event => seen.push(event), retryMs: 1 })
    expect(seen).toEqual(events)
    expect(last).toEqual({ event: 'done', steps: 2 })
    expect(froms).toEqual([0, 1, 2, 3])
  })

  it('reads the events of a coordinator that was started again at the same address from its first one on', async () => {
    const froms: string[] = []
    // Each life says what it has from the number asked for on: the first one breaks off, the second one has fewer events.
    const lives = [
      { life: 'a', told: events.slice(0, 3) },
      { life: 'b', told: [events[0], events[3]] },
    ] as const
    let current: (typeof lives)[number] = lives[0]
    const url = await serve((request, response) => {
      const from = Number(new URL(request.url ?? '', 'http://x').searchParams.get('from'))
      froms.push(`${current.life}${from}`)
      response.writeHead(200, { 'x-skein-life': current.life })
      const text = current.told.slice(from).map(event => `${JSON.stringify(event)}\n`)
      response.write(text.join(''), () => {
        // Twice the same one: it goes on where it was.
        if (froms.length === 2) current = lives[1]
        if (froms.length <= 2) response.destroy()
        else response.end()
      })
      response.flushHeaders()
    })
    const seen: RunEvent[] = []
    const leaders: string[] = []
    const last = await followEvents({
      urls: [url],
      onEvent: event => seen.push(event),
      onLeader: leader => leaders.push(leader),
      retryMs: 1,
    })
    expect(froms).toEqual(['a0', 'a3', 'b3', 'b0'])
    expect(seen).toEqual([...events.slice(0, 3), events[0], events[3]])
    expect(leaders).toEqual([url])
    expect(last).toEqual(events[3])
  })

  it('sends the token, and rejects with the coordinator’s own refusal at once', async () => {
    let asked = 0
    const url = await serve((request, response) => {
      asked++
      response.statusCode = request.headers.authorization === 'Bearer right' ? 200 : 401
      response.end(JSON.stringify({ error: { code: 'SKEIN_C_NO', what: 'no token', todo: 'send it' } }))
    })
    await expect(followEvents({ urls: [url], token: 'wrong', onEvent: () => undefined })).rejects.toMatchObject({
      code: 'SKEIN_C_NO',
      todo: 'send it',
    })
    expect(asked).toBe(1)
  })

  it('gives up on an address where nobody answers, after a bounded number of attempts', async () => {
    await expect(
      followEvents({ urls: ['http://127.0.0.1:1'], onEvent: () => undefined, maxRetries: 2, retryMs: 1 }),
    ).rejects.toMatchObject({ code: CliErrors.COORDINATOR_UNREACHABLE.code })
  })

  it('ends without an event when it is aborted', async () => {
    const url = await serve((_, response) => {
      response.write('{"event":"run"}\n')
    })
    const abort = new AbortController()
    const last = await followEvents({ urls: [url], signal: abort.signal, onEvent: () => abort.abort() })
    expect(last).toBeUndefined()
  })
})

/** Takes requests and never answers, as a process does that was stopped. */
const stopped = () => serve(() => undefined)

/** Answers with 421; `leader` is asked each time. */
const standby = (leader: () => string | undefined = () => undefined) =>
  serve((_, response) => {
    const named = leader()
    const hint = named === undefined ? {} : { 'x-skein-leader': named }
    response.writeHead(421, { 'x-skein-reason': 'this coordinator stands by', ...hint }).end()
  })

describe('following a run that has several coordinators', () => {
  it('goes to the one that a standby names, and waits for one that is to lead', async () => {
    const leader = await serve((_, response) =>
      response.end(events.map(event => `${JSON.stringify(event)}\n`).join('')),
    )
    let asked = 0
    const named = await standby(() => (++asked < 10 ? undefined : leader))
    const seen: RunEvent[] = []
    const onEvent = (event: RunEvent) => seen.push(event)
    const last = await followEvents({ urls: [named, 'http://127.0.0.1:1'], onEvent, retryMs: 1 })
    expect(last).toEqual(events.at(-1))
    expect(seen).toEqual(events)
    expect(asked).toBe(10)
  })

  it('says that all stand by where none takes the lead in time', async () => {
    const urls = await Promise.all([standby(), standby()])
    await expect(followEvents({ urls, onEvent: () => undefined, retryMs: 1, standbyMs: 20 })).rejects.toMatchObject({
      code: TransportErrors.STANDBY.code,
    })
  })

  it('reads the events of the next leader from its first one on', async () => {
    const froms: string[] = []
    let isLeading = false
    const next = await serve((request, response) => {
      if (!isLeading) {
        response.writeHead(421, { 'x-skein-reason': 'this coordinator stands by' }).end()
        return
      }
      froms.push(request.url ?? '')
      response.end('{"event":"run","name":"b"}\n{"event":"done"}\n')
    })
    const first = await serve((_, response) => {
      if (isLeading) {
        response.writeHead(503).end()
        return
      }
      response.write('{"event":"run","name":"a"}\n{"event":"step","step":1}\n', () => {
        isLeading = true
        response.end()
      })
    })
    const seen: RunEvent[] = []
    const leaders: string[] = []
    await followEvents({
      urls: [next, first],
      onEvent: event => seen.push(event),
      onLeader: url => leaders.push(url),
      retryMs: 1,
    })
    expect(froms).toEqual(['/events?from=0'])
    expect(leaders).toEqual([next])
    expect(seen.map(({ event, name }) => name ?? event)).toEqual(['a', 'step', 'b', 'done'])
  })

  it('leaves a leader that was stopped, although its connections stay open', async () => {
    let isStopped = false
    let healthChecks = 0
    const first = await serve((request, response) => {
      if (isStopped) return
      if (request.url === '/healthz') {
        // The first silence is one of the run.
        isStopped = ++healthChecks > 1
        if (!isStopped) response.end('{"ok":true}')
        return
      }
      response.write('{"event":"run","name":"a"}\n')
    })
    const next = await serve((_, response) => {
      response.end('{"event":"run","name":"b"}\n{"event":"done"}\n')
    })
    const seen: unknown[] = []
    const last = await followEvents({
      urls: [first, next],
      onEvent: ({ name }) => seen.push(name),
      retryMs: 1,
      silentMs: 50,
    })
    expect(last?.event).toBe('done')
    expect(seen).toEqual(['a', 'b', undefined])
    expect(healthChecks).toBe(2)
  })
})

describe('asking a coordinator', () => {
  it('of several asks the one that leads, past one that is stopped, one that stands by and one that ends', async () => {
    const ending = await serve((_, response) => response.writeHead(503).end())
    const leader = await serve((_, response) => response.end('{"phase":"training"}'))
    const urls = [await stopped(), await standby(), ending, leader]
    const answer = await askCoordinator({ urls, method: 'GET', path: '/status', timeoutMs: 10_000 })
    expect(answer).toEqual({ phase: 'training' })
  })

  it('of one that stands by says so, where it names nobody', async () => {
    const urls = [await standby()]
    await expect(askCoordinator({ urls, method: 'GET', path: '/status', timeoutMs: 5_000 })).rejects.toMatchObject({
      code: TransportErrors.STANDBY.code,
      todo: 'try again in a moment',
    })
  })

  it('says what is wrong with an address that is something else', async () => {
    const url = await serve((_, response) => {
      response.statusCode = 404
      response.end('<html>')
    })
    await expect(
      askCoordinator({ urls: [url], method: 'GET', path: '/status', timeoutMs: 5000 }),
    ).rejects.toMatchObject({
      code: CliErrors.COORDINATOR_REFUSED.code,
      details: { status: 404 },
    })
  })

  it('is bounded', async () => {
    const url = await serve(() => undefined)
    await expect(askCoordinator({ urls: [url], method: 'POST', path: '/stop', timeoutMs: 50 })).rejects.toMatchObject({
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
