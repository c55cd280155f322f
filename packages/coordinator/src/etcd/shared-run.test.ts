import fs from 'node:fs'
import path from 'node:path'
import { nullLogger } from '@skein/telemetry'
import { startEtcd, temporaryFolder } from '@skein/testkit'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { type CoordinatorOptions, startCoordinator } from '../start-coordinator.ts'

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
