import fs from 'node:fs'
import path from 'node:path'
import { type RunHistory, SqliteLog } from '@skein/coordinator'
import { sleep } from '@skein/core'
import type { Cluster } from 'skein/chaos'
import { expect } from 'vitest'

/** The commit log, read as any tool would. */
export function commitsOf(runDir: string): RunHistory['commits'] {
  const log = new SqliteLog(path.join(runDir, 'coordinator.sqlite'))
  try {
    return log.read().commits
  } finally {
    log.close()
  }
}

/** The log of the run so far: each step once, each sample once. */
export function expectWhole(cluster: Cluster, runDir: string, globalBatch: number): void {
  const commits = commitsOf(runDir)
  expect(commits.map(({ step }) => step)).toEqual(commits.map((_, i) => i + 1))
  expect(commits.map(({ samplesTo }) => samplesTo)).toEqual(commits.map(({ step }) => globalBatch * step))
  expect(commits.at(-1)?.step).toBeGreaterThan(3)
  expect(cluster.events.filter(event => event.event === 'error')).toEqual([])
}

/** The first line of a worker's comm thread that has this message, and fits, once it is there. */
export async function untilLogged(
  runDir: string,
  workerId: string,
  message: string,
  withinMs: number,
  fits: (line: Readonly<Record<string, unknown>>) => boolean = () => true,
): Promise<Readonly<Record<string, unknown>>> {
  const file = path.join(runDir, 'logs', `${workerId}.comm.log`)
  const deadlineMs = performance.now() + withinMs
  for (;;) {
    const text = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : ''
    // The last one may still be being written.
    const lines = text.split('\n').slice(0, -1)
    const found = lines
      .map(line => JSON.parse(line) as Record<string, unknown>)
      .find(l => l['event'] === message && fits(l))
    if (found !== undefined) return found
    if (performance.now() > deadlineMs) throw new Error(`${file} does not say ${message} within ${withinMs} ms`)
    await sleep(50)
  }
}
