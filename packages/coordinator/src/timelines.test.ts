import fs from 'node:fs'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import { createLogger, nullLogger } from '@skein/telemetry'
import { temporaryFolder } from '@skein/testkit'
import { expect, it } from 'vitest'
import { type RunTimelines, TimelineRecords, timelinesFile } from './timelines.ts'

const message = (generation: number, step: number) => ({
  type: 'timeline' as const,
  generation,
  step,
  ops: [{ op: 'F' as const, stage: 0, microbatch: step, start: 1, end: 2 }],
})

it('keeps the newest step that all ranks have told of', () => {
  using folder = temporaryFolder('timelines-')
  const read = () => {
    const file = path.join(folder.path, timelinesFile)
    return fs.existsSync(file) ? (JSON.parse(fs.readFileSync(file, 'utf8')) as RunTimelines) : undefined
  }
  const records = new TimelineRecords(folder.path, { name: 'a job' }, nullLogger)
  const [w0, w1] = [0, 1].map(rank => ({ workerId: `w${rank}`, rank, worldSize: 2 })) as [
    { workerId: string; rank: number; worldSize: number },
    { workerId: string; rank: number; worldSize: number },
  ]
  records.take(w1, message(1, 2))
  expect(read()).toBeUndefined()
  records.take(w0, message(1, 2))
  expect(read()).toMatchObject({ generation: 1, step: 2, ranks: [{ workerId: 'w0' }, { workerId: 'w1' }] })
  records.take(w0, message(1, 10))
  expect(read()?.step).toBe(2)
  // A late word about an older step changes nothing.
  records.take(w1, message(1, 2))
  records.take(w1, message(1, 10))
  expect(read()?.step).toBe(10)
  // After a change of members steps are made again.
  records.take(w1, message(2, 10))
  records.take(w0, message(2, 10))
  expect(read()).toMatchObject({ generation: 2, step: 10 })
})

it('goes on where they cannot be written, says so once, and keeps the next ones that can', () => {
  using folder = temporaryFolder('timelines-')
  const runDir = path.join(folder.path, 'run')
  const stream = new PassThrough()
  const records = new TimelineRecords(runDir, {}, createLogger({ stream }))
  const only = { workerId: 'w0', rank: 0, worldSize: 1 }
  // There is no such folder.
  for (const step of [1, 2]) records.take(only, message(1, step))
  fs.mkdirSync(runDir)
  records.take(only, message(1, 3))
  expect(JSON.parse(fs.readFileSync(path.join(runDir, timelinesFile), 'utf8'))).toMatchObject({ step: 3 })
  fs.rmSync(runDir, { recursive: true })
  records.take(only, message(1, 4))
  const warnings = String(stream.read())
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, unknown>)
  expect(warnings.map(({ event, step }) => [event, step])).toEqual([
    ['timelines.not-kept', 1],
    ['timelines.not-kept', 4],
  ])
})
