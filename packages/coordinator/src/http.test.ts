import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { nullLogger } from '@skein/telemetry'
import { temporaryFolder } from '@skein/testkit'
import { afterEach, expect, test } from 'vitest'
import { type CoordinatorOptions, type RunningCoordinator, startCoordinator } from './start-coordinator.ts'

const open: { close(): void | Promise<void> }[] = []
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close()
})

async function start(options: Partial<CoordinatorOptions> = {}): Promise<RunningCoordinator> {
  const folder = temporaryFolder('coordinator')
  open.push({ close: () => folder[Symbol.dispose]() })
  const coordinator = await startCoordinator({
    job: { name: 'tiny', steps: 3, batch: { global: 8 } },
    numWorkers: 2,
    runDir: folder.path,
    logger: nullLogger,
    ...options,
  })
  open.push(coordinator)
  return coordinator
}

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })

async function readEvents(coordinator: RunningCoordinator, from = 0): Promise<Record<string, unknown>[]> {
  const response = await fetch(`${coordinator.url}/events?from=${from}`, bearer(coordinator.token))
  const text = await response.text()
  return text
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, unknown>)
}

test('status says what the run waits for', async () => {
  const coordinator = await start()
  const response = await fetch(`${coordinator.url}/status`)
  expect(await response.json()).toMatchObject({
    phase: 'gathering',
    step: 0,
    totalSteps: 3,
    numWorkers: 2,
    waitingFor: 'waiting for 2 of 2 workers to join',
    members: [],
    outcome: null,
  })
})

test('a stop while gathering ends the run, streams end, and events are told again from any number', async () => {
  const coordinator = await start()
  const live = readEvents(coordinator)
  const refused = await fetch(`${coordinator.url}/stop`, { method: 'POST' })
  expect(refused.status, 'stopping asks for the token also on loopback').toBe(401)
  const stopped = await fetch(`${coordinator.url}/stop`, { method: 'POST', ...bearer(coordinator.token) })
  expect(stopped.status).toBe(202)
  const outcome = await coordinator.finished
  expect(outcome).toMatchObject({ status: 'stopped', steps: 0, checkpoint: null })
  const events = await live
  expect(events.map(event => event['event'])).toEqual(['run', 'done'])
  expect(events[0]).toMatchObject({ name: 'tiny', totalSteps: 3, startStep: 0, numWorkers: 2 })
  expect(await readEvents(coordinator, 1)).toEqual(events.slice(1))
  expect((await fetch(`${coordinator.url}/healthz`).then(r => r.json())) as unknown).toEqual({
    ok: true,
    phase: 'ended',
  })
})

test('a given token guards everything but healthz', async () => {
  const coordinator = await start({ token: 'a-long-token' })
  for (const route of ['/status', '/events']) {
    const without = await fetch(`${coordinator.url}${route}`)
    expect([without.status, await without.json()]).toMatchObject([
      401,
      { error: { code: 'SKEIN_COORDINATOR_UNAUTHORIZED' } },
    ])
    const wrong = await fetch(`${coordinator.url}${route}`, bearer('another-token'))
    expect(wrong.status).toBe(401)
  }
  expect((await fetch(`${coordinator.url}/status`, bearer('a-long-token'))).status).toBe(200)
  expect((await fetch(`${coordinator.url}/healthz`)).status).toBe(200)
})

test('requests that make no sense get a typed error', async () => {
  const coordinator = await start()
  const answer = async (route: string, init?: RequestInit) => {
    const response = await fetch(`${coordinator.url}${route}`, init)
    return [response.status, ((await response.json()) as { error: { code: string } }).error.code]
  }
  expect(await answer('/nothing')).toEqual([404, 'SKEIN_COORDINATOR_BAD_REQUEST'])
  expect(await answer('/events?from=-1')).toEqual([400, 'SKEIN_COORDINATOR_BAD_REQUEST'])
  expect(await answer('/events?from=x')).toEqual([400, 'SKEIN_COORDINATOR_BAD_REQUEST'])
  const long = {
    method: 'POST',
    body: 'x'.repeat(10_000),
    headers: { ...bearer(coordinator.token).headers, 'content-type': 'text/plain' },
  }
  expect(await answer('/stop', long)).toEqual([413, 'SKEIN_COORDINATOR_BAD_REQUEST'])
})

test('no more event streams than allowed', async () => {
  const coordinator = await start({ maxEventStreams: 1 })
  const first = new AbortController()
  const stream = await fetch(`${coordinator.url}/events`, { signal: first.signal })
  expect(stream.status).toBe(200)
  const second = await fetch(`${coordinator.url}/events`)
  expect([second.status, await second.json()]).toMatchObject([
    503,
    { error: { code: 'SKEIN_COORDINATOR_TOO_MANY_STREAMS' } },
  ])
  first.abort()
})

test('workers that do not come are named by number, and the stream ends with the error', async () => {
  const coordinator = await start({ deadlines: { gatherMs: 1 } })
  const outcome = await coordinator.finished
  expect(outcome).toMatchObject({ status: 'failed', error: { code: 'SKEIN_MEMBERSHIP_GATHER_TIMEOUT' } })
  const events = await readEvents(coordinator)
  expect(events.at(-1)).toMatchObject({ event: 'error', code: 'SKEIN_MEMBERSHIP_GATHER_TIMEOUT', steps: 0 })
  expect(String(events.at(-1)?.['message'])).toContain('0 of 2 workers')
})

test('a port in use is named', async () => {
  const other = net.createServer()
  await new Promise<void>(resolve => other.listen(0, '127.0.0.1', resolve))
  open.push({ close: () => void other.close() })
  const { port } = other.address() as net.AddressInfo
  await expect(start({ port })).rejects.toMatchObject({
    code: 'SKEIN_COORDINATOR_PORT_IN_USE',
    what: `port ${port} on 127.0.0.1 is in use`,
  })
})

test('an address that is not ours is refused, and beyond loopback a token is needed', async () => {
  await expect(start({ host: '203.0.113.7', token: 'a-long-token' })).rejects.toMatchObject({
    code: 'SKEIN_COORDINATOR_LISTEN_FAILED',
  })
  await expect(start({ host: '0.0.0.0' })).rejects.toMatchObject({ code: 'SKEIN_COORDINATOR_TOKEN_NEEDED' })
})

test('a second coordinator on the same folder is refused, and may follow when the first has closed', async () => {
  const folder = temporaryFolder('coordinator')
  open.push({ close: () => folder[Symbol.dispose]() })
  const first = await start({ runDir: folder.path })
  await expect(start({ runDir: folder.path })).rejects.toMatchObject({
    code: 'SKEIN_COORDINATOR_ALREADY_RUNNING',
    what: expect.stringContaining(`process ${process.pid} at ${first.url}`) as unknown,
  })
  expect((await fetch(`${first.url}/healthz`)).status, 'the first one is not disturbed').toBe(200)
  await Promise.all([first.close(), first.close()])
  const second = await start({ runDir: folder.path })
  expect((await readEventsUntilStopped(second)).map(event => event['event'])).toEqual(['run', 'done'])
})

async function readEventsUntilStopped(coordinator: RunningCoordinator): Promise<Record<string, unknown>[]> {
  coordinator.stop('enough')
  return readEvents(coordinator)
}

test('the stream of events names the life that counts them: the same for each reader, another one when it is started again', async () => {
  const folder = temporaryFolder('coordinator')
  open.push({ close: () => folder[Symbol.dispose]() })
  const lifeAt = async (coordinator: RunningCoordinator) => {
    const reading = new AbortController()
    const { headers } = await fetch(`${coordinator.url}/events?from=1`, { signal: reading.signal })
    reading.abort()
    return headers.get('x-skein-life')
  }
  const first = await start({ runDir: folder.path })
  const life = await lifeAt(first)
  expect(life).toMatch(/^[\w-]+$/)
  expect(await lifeAt(first)).toBe(life)
  await first.close()
  const second = await start({ runDir: folder.path, port: first.port })
  expect(await lifeAt(second)).not.toBe(life)
})

test('closing an unfinished run ends it as failed; a signal ends it as stopped', async () => {
  const closed = await start()
  await closed.close()
  expect(await closed.finished).toMatchObject({ status: 'failed', error: { code: 'SKEIN_COORDINATOR_CLOSED' } })
  await expect(fetch(`${closed.url}/healthz`)).rejects.toThrow()

  const signal = AbortSignal.abort(new Error('interrupted'))
  const stopped = await start({ signal })
  expect(await stopped.finished).toMatchObject({ status: 'stopped', reason: 'interrupted' })
})

test('a run folder that cannot be made, and a checkpoint that is not there', async () => {
  const folder = temporaryFolder('coordinator')
  open.push({ close: () => folder[Symbol.dispose]() })
  fs.writeFileSync(path.join(folder.path, 'file'), '')
  await expect(start({ runDir: path.join(folder.path, 'file', 'run') })).rejects.toMatchObject({
    code: 'SKEIN_COORDINATOR_STORE_FAILED',
  })
  await expect(start({ resume: path.join(folder.path, 'missing') })).rejects.toMatchObject({
    code: 'SKEIN_CHECKPOINT_NOT_FOUND',
  })
})
