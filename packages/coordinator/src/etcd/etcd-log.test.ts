import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import { systemClock, within } from '@skein/core'
import type { StepEvent } from '@skein/membership'
import { createLogger, type Logger, nullLogger } from '@skein/telemetry'
import { startEtcd } from '@skein/testkit'
import { afterAll, describe, expect, test } from 'vitest'
import { EtcdClient } from './etcd-client.ts'
import { EtcdLog } from './etcd-log.ts'
import { campaign, type Leadership } from './leadership.ts'

const quotaBytes = 4_000_000
const etcd = await startEtcd({ quotaBytes })
afterAll(() => etcd?.[Symbol.asyncDispose]())

const life = { runId: 'r', job: {}, resume: undefined, startStep: 0 }
const event = (step: number, bytes = 1) => ({ event: 'checkpoint', step, path: 'p'.repeat(bytes) }) as const
/** Of a step, `bytes` long and a little more. */
const stepEvent = (step: number, bytes: number) => ({ event: 'step', step, digest: 'd'.repeat(bytes) }) as StepEvent
/** Much less than the lease lasts, which is renewed besides. */
const bounded = <T>(promise: T | Promise<T>) => within(Promise.resolve(promise), { what: 'etcd', timeoutMs: 4_000 })

/** The log of a coordinator that leads, behind `url`. */
async function open(
  runId: string,
  url: string,
  { logger = nullLogger, ...parts }: { readonly logger?: Logger; readonly keptEventBytes?: number } = {},
): Promise<[EtcdLog, Leadership]> {
  const prefix = `/skein/${runId}/`
  const leadership = await campaign({
    client: new EtcdClient([etcd?.url ?? '']),
    key: `${prefix}leader`,
    url: 'http://me',
    ttlSeconds: 30,
    clock: systemClock,
    logger: nullLogger,
    signal: new AbortController().signal,
    onOther: () => undefined,
  })
  const log = new EtcdLog({ client: new EtcdClient([url]), prefix, leadership, logger, ...parts })
  await log.read()
  await log.beginLife(life)
  return [log, leadership]
}

/** Before etcd: passes everything on, but where `isAway` says no. */
async function startProxy(isAway: () => boolean) {
  const proxy = http.createServer((request, response) => {
    if (isAway()) {
      response.writeHead(503).end('{"code":14,"message":"etcdserver: no leader"}')
      return
    }
    const onward = http.request(`${etcd?.url}${request.url}`, { method: 'POST' }, answer => {
      response.writeHead(answer.statusCode ?? 500)
      answer.pipe(response)
    })
    request.pipe(onward)
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  return {
    url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    [Symbol.dispose]: () => proxy.close().closeAllConnections(),
  }
}

/** What `--auto-compaction-retention` has etcd do by itself. */
async function compact({ proof }: Leadership): Promise<void> {
  const post = async (method: string, body: object) =>
    (await fetch(`${etcd?.url}/v3/kv/${method}`, { method: 'POST', body: JSON.stringify(body) })).json()
  const { header } = (await post('range', { key: Buffer.from(proof.key).toString('base64') })) as {
    readonly header: { readonly revision: string }
  }
  await post('compaction', { revision: header.revision, physical: true })
}

describe.skipIf(etcd === undefined)('a log in etcd', () => {
  test('what etcd will never take fails at once, and nothing of it is there', async () => {
    const [log, leadership] = await open('large', etcd?.url ?? '')
    const large = bounded(log.append([], [event(1, 2_000_000)]))
    await expect(large).rejects.toMatchObject({
      code: 'SKEIN_COORDINATOR_STORE_FAILED',
      details: { refusedWith: 400 },
      what: expect.stringContaining('request is too large') as unknown,
    })
    await log.append([], [event(2)])
    expect(await log.readEvents(0, 9)).toEqual([JSON.stringify(event(2))])
    await leadership.resign()
  })

  test('an outage is waited for, by writers and readers, and told of once each', async () => {
    let numAway = 0
    using proxy = await startProxy(() => numAway-- > 0)
    const stream = new PassThrough()
    const [log, leadership] = await open('away', proxy.url, { logger: createLogger({ stream }) })
    numAway = 3
    await bounded(log.append([], [event(1)]))
    numAway = 3
    expect(await bounded(log.readEvents(0, 9))).toEqual([JSON.stringify(event(1))])
    const told = String(stream.read())
      .trimEnd()
      .split('\n')
      .map(line => (JSON.parse(line) as { event: string }).event)
    expect(told).toEqual(['store.tried-again', 'store.tried-again'])
    await leadership.resign()
  })

  test('of events of steps the newest are kept, all others always; a reader gets as many lines, and goes on by number', async () => {
    const [log, leadership] = await open('passing', etcd?.url ?? '', { keptEventBytes: 5_000 })
    await log.append([], [event(0), stepEvent(0, 1)])
    const written = [JSON.stringify(event(0)), JSON.stringify(stepEvent(0, 1))]
    for (let step = 1; step <= 30; step++) {
      const events = step % 10 === 0 ? [event(step), event(step)] : [stepEvent(step, 1_000)]
      await log.append([], events)
      written.push(...events.map(one => JSON.stringify(one)))
    }
    expect(log.numEvents).toBe(written.length)
    const all = await log.readEvents(0, 100)
    const gone = '{"event":"gone"}'
    const kept = all.flatMap((line, number) => (line === gone ? [] : [number]))
    // Four blocks of steps fit; the last write was of another kind.
    const passed = written.flatMap((line, number) => (line.length > 1_000 ? [number] : []))
    expect(kept).toEqual(
      written.flatMap((line, number) => (line.length > 1_000 && !passed.slice(-4).includes(number) ? [] : [number])),
    )
    expect(all).toEqual(written.map((line, number) => (kept.includes(number) ? line : gone)))
    for (let from = 0; from <= written.length; from++) {
      for (const limit of [1, 3, 100]) {
        const lines = await log.readEvents(from, limit)
        expect(lines.length > 0, `from ${from}`).toBe(from < written.length)
        expect(lines, `from ${from}, ${limit}`).toEqual(all.slice(from, from + lines.length))
        expect(lines.length).toBeLessThanOrEqual(limit)
      }
    }
    await leadership.resign()
  })

  test('events of earlier coordinators go when the next one leads', async () => {
    const keys = async () =>
      (await new EtcdClient([etcd?.url ?? '']).range('/skein/lives/events/', { end: '/skein/lives/events0' })).length
    const [first, led] = await open('lives', etcd?.url ?? '')
    for (let step = 1; step <= 5; step++) await first.append([], [event(step)])
    expect(await keys()).toBe(5)
    await led.resign()
    const [second, leads] = await open('lives', etcd?.url ?? '')
    expect(await keys()).toBe(0)
    await second.append([], [event(6)])
    expect(await second.readEvents(0, 9)).toEqual([JSON.stringify(event(6))])
    await leads.resign()
  })

  test('a run may tell of far more steps than the quota holds, where etcd compacts', async () => {
    const [log, leadership] = await open('long', etcd?.url ?? '', { keptEventBytes: quotaBytes / 20 })
    const numSteps = 200
    for (let step = 1; step <= numSteps; step++) {
      await bounded(log.append([], [stepEvent(step, (3 * quotaBytes) / numSteps)]))
      if (step % 10 === 0) await compact(leadership)
    }
    expect(await log.readEvents(numSteps - 1, 1)).toEqual([
      JSON.stringify(stepEvent(numSteps, (3 * quotaBytes) / numSteps)),
    ])
    await leadership.resign()
  })

  test('one endpoint that says no is believed, although another one is away', async () => {
    using proxy = await startProxy(() => true)
    for (const urls of [
      [proxy.url, etcd?.url ?? ''],
      [etcd?.url ?? '', proxy.url],
    ]) {
      const put = new EtcdClient(urls).putIf([], [{ key: '/k', value: 'v'.repeat(2_000_000) }])
      await expect(bounded(put)).rejects.toMatchObject({ details: { refusedWith: 400 } })
    }
  })

  // Last: nothing is taken after it.
  test('a quota that is used up fails the write that finds it so, although the lease goes on', async () => {
    const [log, leadership] = await open('full', etcd?.url ?? '')
    const fill = async () => {
      for (let i = 0; i < 8; i++) await bounded(log.append([], [event(i, quotaBytes / 6)]))
    }
    await expect(fill()).rejects.toMatchObject({
      code: 'SKEIN_COORDINATOR_STORE_FAILED',
      details: { refusedWith: 429 },
      what: expect.stringContaining('database space exceeded') as unknown,
    })
    expect(leadership.isValid).toBe(true)
    await leadership.resign()
  })
})
