import fs from 'node:fs'
import path from 'node:path'
import { deferred, within } from '@skein/core'
import { nullLogger } from '@skein/telemetry'
import { startEtcd, temporaryFolder } from '@skein/testkit'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { type CoordinatorOptions, startCoordinator } from '../start-coordinator.ts'
import { readEtcdHistory } from './etcd-log.ts'

const etcd = await startEtcd()
afterAll(() => etcd?.[Symbol.asyncDispose]())

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close()
})

function newFolder(): string {
  const folder = temporaryFolder('shared-run')
  open.push({ close: () => folder[Symbol.dispose]() })
  return folder.path
}

async function start(runDir: string, options: Partial<CoordinatorOptions> = {}) {
  const coordinator = await startCoordinator({
    job: { name: 'tiny', steps: 3, batch: { global: 8 } },
    numWorkers: 1,
    runDir,
    token: 'a-token-of-tests',
    etcd: { endpoints: [etcd?.url ?? ''] },
    logger: nullLogger,
    ...options,
  })
  open.push(coordinator)
  return coordinator
}

describe.skipIf(etcd === undefined)('a run whose log is in etcd', () => {
  test('is named in its folder as long as its coordinator is there, and no longer', async () => {
    const runDir = newFolder()
    const file = path.join(runDir, 'coordinator.json')
    const first = await start(runDir)
    expect(JSON.parse(fs.readFileSync(file, 'utf8'))).toMatchObject({ pid: process.pid, url: first.url })
    await first.close()
    expect(fs.existsSync(file)).toBe(false)
  })

  test('goes on with the next coordinator at once where the one that leads is told to resign', async () => {
    const runDir = newFolder()
    const telling = new AbortController()
    // A lease that would outlast the test.
    const shared = { etcd: { endpoints: [etcd?.url ?? ''], ttlSeconds: 600 } }
    const first = await start(runDir, { ...shared, resign: telling.signal })
    const standing = deferred<void>()
    const next = start(runDir, { ...shared, onStandBy: () => standing.resolve() })
    await standing.promise
    telling.abort()
    expect(await first.finished).toMatchObject({ status: 'failed', error: { code: 'SKEIN_COORDINATOR_RESIGNED' } })
    const second = await within(next, { what: 'the next one to lead', timeoutMs: 10_000 })
    expect(await (await fetch(`${second.url}/healthz`)).json()).toMatchObject({ phase: 'gathering' })
    await first.close()
    expect((await readEtcdHistory([etcd?.url ?? ''], path.basename(runDir))).ending).toBeUndefined()
  })

  test('stays named where another coordinator has written its own name there', async () => {
    const runDir = newFolder()
    const file = path.join(runDir, 'coordinator.json')
    const first = await start(runDir)
    const next = JSON.stringify({ pid: 1, url: 'http://the-next:1', runId: 'r' })
    fs.writeFileSync(file, next)
    await first.close()
    expect(fs.readFileSync(file, 'utf8')).toBe(next)
  })
})
