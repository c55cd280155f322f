import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { expect, test } from 'vitest'
import { runSkein, type SkeinRun, startSkein, stepsOf, tinyJob } from '../skein-process.ts'

const token = 'a-token-of-the-test'
const steps = 4
const limitMs = 100_000

interface Trained {
  readonly digests: readonly string[]
  /** From where each lane was dialled, and the version of TLS that it speaks. */
  readonly lanes: readonly { readonly remote?: string; readonly tls?: string }[]
}

function lanesOf(logs: string, id: string): Trained['lanes'] {
  const lines = fs.readFileSync(path.join(logs, `${id}.comm.log`), 'utf8').split('\n')
  return lines.flatMap(line => {
    if (!line.includes('"lane.opened"')) return []
    const { remote, tls } = JSON.parse(line) as Trained['lanes'][number]
    return [{ ...(remote === undefined ? {} : { remote }), ...(tls === undefined ? {} : { tls }) }]
  })
}

/** Coordinator and two workers on this host, with more arguments for both; nothing of them is left. */
async function trainOverTcp(runDir: string, secure: readonly string[]): Promise<Trained> {
  const env = { SKEIN_TOKEN: token, SKEIN_LOG_LEVEL: 'debug' }
  const started: SkeinRun[] = []
  const start = (...args: string[]) => {
    const run = startSkein([...args, ...secure, '--json'], limitMs, env)
    started.push(run)
    return run
  }
  try {
    const coordinator = start(
      'coordinator',
      '--job',
      tinyJob,
      '--workers',
      '2',
      '--steps',
      `${steps}`,
      '--run-dir',
      runDir,
    )
    const url = String((await coordinator.until(event => event.event === 'listening', 'it listened'))['url'])
    expect(url).toMatch(secure.length > 0 ? /^https:/ : /^http:/)
    const watching = runSkein(['watch', runDir, '--token', token, '--json'], limitMs)
    const logs = path.join(runDir, 'logs')
    for (const id of ['w0', 'w1']) {
      start('worker', '--join', url, '--id', id, '--threads', '1', '--no-local-lanes', '--log-dir', logs)
    }
    const events = await watching
    const ends = await Promise.all(started.map(run => run.ended))
    expect(ends.map(({ code }) => code)).toEqual([0, 0, 0])
    return { digests: stepsOf(events).map(step => step.digest), lanes: ['w0', 'w1'].flatMap(id => lanesOf(logs, id)) }
  } finally {
    for (const run of started) run.process.kill('SIGKILL')
  }
}

test('coordinator and workers with certificates of `skein certs` train over TLS, to the same digests as without', async () => {
  using folder = temporaryFolder('tls-run')
  const certs = path.join(folder.path, 'certs')
  await runSkein(['certs', '--hosts', 'worker-1,10.0.0.7', '--out', certs, '--json'])
  const plain = await trainOverTcp(path.join(folder.path, 'plain'), [])
  const secure = await trainOverTcp(path.join(folder.path, 'secure'), ['--tls', certs])
  expect(plain.digests).toHaveLength(steps)
  expect(secure.digests).toEqual(plain.digests)
  const numLanes = plain.lanes.length
  expect(numLanes).toBeGreaterThanOrEqual(2)
  expect(plain.lanes).toEqual(Array(numLanes).fill({ remote: '127.0.0.1' }))
  expect(secure.lanes).toEqual(Array(numLanes).fill({ remote: '127.0.0.1', tls: 'TLSv1.3' }))
}, 240_000)

test('a worker with a certificate of another authority, or with none, is refused and says what to do', async () => {
  using folder = temporaryFolder('tls-run')
  const [ours, theirs] = ['ours', 'theirs'].map(name => path.join(folder.path, name)) as [string, string]
  for (const out of [ours, theirs]) await runSkein(['certs', '--hosts', 'worker-1', '--out', out, '--json'])
  const env = { SKEIN_TOKEN: token }
  const runDir = path.join(folder.path, 'run')
  const common = ['--workers', '1', '--run-dir', runDir, '--json']
  const coordinator = startSkein(['coordinator', '--job', tinyJob, '--tls', ours, ...common], limitMs, env)
  try {
    const url = String((await coordinator.until(event => event.event === 'listening', 'it listened'))['url'])
    const refusalOf = async (address: string, ...shown: string[]) => {
      const worker = startSkein(['worker', '--join', address, ...shown, '--json'], limitMs, env)
      const error = await worker.until(event => event.event === 'error', 'it was refused')
      expect((await worker.ended).code).toBe(1)
      expect(String(error['todo'])).toContain('--tls')
      return error['code']
    }
    expect(await refusalOf(url, '--tls', theirs)).toBe('SKEIN_TRANSPORT_TLS_UNTRUSTED')
    const mixed = ['--tls-ca', path.join(ours, 'ca.pem')]
    for (const part of ['cert', 'key']) mixed.push(`--tls-${part}`, path.join(theirs, `${part}.pem`))
    expect(await refusalOf(url, ...mixed)).toBe('SKEIN_TRANSPORT_TLS_REFUSED')
    expect(await refusalOf(url.replace('https', 'http'))).toBe('SKEIN_TRANSPORT_TLS_NEEDED')
    const [status] = (await runSkein(['status', runDir, '--token', token, '--json'])) as unknown as [object]
    expect(status).toMatchObject({ refused: { noCertificate: 1, plainOnTls: 1 } })
  } finally {
    coordinator.process.kill('SIGKILL')
    await coordinator.ended
  }
}, 240_000)
