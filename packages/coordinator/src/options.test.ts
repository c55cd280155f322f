import { expect, test } from 'vitest'
import { isLoopback } from '@skein/transport'
import { accessOf, bearerToken, plainWarning } from './access.ts'
import { parseConfig } from './config.ts'
import { urlOf } from './listen.ts'
import { Resources } from './resources.ts'

const minimal = { job: { steps: 5, batch: { global: 8 } }, numWorkers: 2, runDir: '/r' }

test('options are completed, and the steps come from the job', () => {
  const config = parseConfig(minimal)
  expect(config).toMatchObject({ totalSteps: 5, host: '127.0.0.1', port: 0, heartbeat: { deadAfterMs: 5000 } })
  expect(parseConfig({ ...minimal, totalSteps: 7 }).totalSteps).toBe(7)
})

test.each([
  ['no worker', { ...minimal, numWorkers: 0 }, 'numWorkers'],
  ['no steps', { ...minimal, job: {} }, 'totalSteps'],
  ['a port out of range', { ...minimal, port: 70_000 }, 'port'],
  ['a short token', { ...minimal, token: 'abc' }, 'token'],
  ['an unknown key', { ...minimal, numWorker: 2 } as never, 'numWorker'],
  [
    'a death before the second heartbeat',
    { ...minimal, heartbeat: { intervalMs: 900, deadAfterMs: 1000 } },
    'intervalMs',
  ],
])('%s is refused by name', (_, options, name) => {
  expect(() => parseConfig(options)).toThrow(
    expect.objectContaining({ code: 'SKEIN_COORDINATOR_BAD_OPTIONS', what: expect.stringContaining(name) }),
  )
})

test('longest waits are those of the job, unless they are given beside it', () => {
  const limits = { prepareSeconds: 1800, stepSeconds: 900, finishSeconds: 600 }
  const job = { ...minimal.job, elastic: { limits } }
  expect(parseConfig({ ...minimal, job }).deadlines).toMatchObject({
    prepareMs: 1_800_000,
    stallMs: 900_000,
    finishMs: 600_000,
    gatherMs: 120_000,
  })
  const deadlines = { prepareMs: 5 }
  expect(parseConfig({ ...minimal, job, deadlines }).deadlines).toMatchObject({ prepareMs: 5, stallMs: 900_000 })
})

test('a token is drawn on loopback only, and only the same text is accepted', () => {
  const drawn = accessOf('127.0.0.1', undefined)
  expect(drawn.token).toMatch(/^[0-9a-f]{32}$/)
  expect(drawn.guardsReading).toBe(false)
  expect(accessOf('127.0.0.1', undefined).token).not.toBe(drawn.token)
  const given = accessOf('0.0.0.0', 'a-long-token')
  expect(given.guardsReading).toBe(true)
  expect([
    given.accepts('a-long-token'),
    given.accepts('a-long-tokeN'),
    given.accepts(''),
    given.accepts(undefined),
  ]).toEqual([true, false, false, false])
  for (const host of ['0.0.0.0', '::', '192.168.1.2', 'example.org', '127.evil.org']) {
    expect(() => accessOf(host, undefined)).toThrow(expect.objectContaining({ code: 'SKEIN_COORDINATOR_TOKEN_NEEDED' }))
  }
})

test('the token is read from a bearer header alone', () => {
  expect(bearerToken('Bearer abc')).toBe('abc')
  expect(bearerToken('bearer  abc')).toBe('abc')
  for (const header of [undefined, '', 'abc', 'Basic abc', 'Bearer', 'Bearer a b']) {
    expect(bearerToken(header)).toBeUndefined()
  }
})

test('whoever listens beyond this machine without TLS is told what that means', () => {
  expect(plainWarning('0.0.0.0', false)).toContain('skein certs')
  expect([plainWarning('0.0.0.0', true), plainWarning('127.0.0.1', false)]).toEqual([undefined, undefined])
})

test('addresses', () => {
  expect(['localhost', '::1', '127.0.0.9'].every(isLoopback)).toBe(true)
  expect(urlOf('10.0.0.1', 8, true)).toBe('https://10.0.0.1:8')
  expect(urlOf('0.0.0.0', 8)).toBe('http://127.0.0.1:8')
  expect(urlOf('::', 8)).toBe('http://[::1]:8')
  expect(urlOf('10.0.0.1', 8)).toBe('http://10.0.0.1:8')
})

test('resources close in the opposite order, all of them, once, and the first failure is told', async () => {
  const closed: string[] = []
  const resources = new Resources()
  for (const name of ['a', 'b', 'c']) {
    resources.own(name, async value => {
      closed.push(value)
      if (value === 'b') throw new Error('b does not close')
    })
  }
  await expect(resources.close()).rejects.toThrow('b does not close')
  await resources.close()
  expect(closed).toEqual(['c', 'b', 'a'])
})
