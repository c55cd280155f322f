import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { root, runSkein, stepsOf, tinyJob } from '../skein-process.ts'

interface LogLine {
  readonly event: string
  readonly opSeq?: number
  readonly elems?: number
  readonly bytes?: number
  readonly step?: number
  readonly bucket?: number
}

const linesOf = (file: string) =>
  fs
    .readFileSync(file, 'utf8')
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line) as LogLine)

describe('docs/follow-a-tensor.md', () => {
  it('names files that exist, in ten hops', () => {
    const page = fs.readFileSync(path.join(root, 'docs/follow-a-tensor.md'), 'utf8')
    const files = [...page.matchAll(/^\| \d+ \| `([^`]+)`/gm)].map(match => match[1] as string)
    expect(files).toHaveLength(10)
    for (const file of files) expect(fs.existsSync(path.join(root, file)), file).toBe(true)
  })

  it('tells the way that a bucket really takes: trainer, op of the same number on both ranks, bytes on the lane', async () => {
    using folder = temporaryFolder('follow')
    const events = await runSkein(
      ['train', tinyJob, '--workers', '2', '--steps', '3', '--run-dir', folder.path, '--json'],
      120_000,
      { SKEIN_LOG_LEVEL: 'debug' },
    )
    const logs = path.join(folder.path, 'logs')
    const opsOf = (worker: string) => linesOf(path.join(logs, `${worker}.comm.log`)).filter(l => l.event === 'op.done')
    const buckets = linesOf(path.join(logs, 'w0.device.log')).filter(l => l.event === 'bucket.ready' && l.step === 2)
    expect(buckets.length).toBeGreaterThan(1)
    const [w0, w1] = [opsOf('w0'), opsOf('w1')]
    expect(w1.map(op => [op.opSeq, op.elems])).toEqual(w0.map(op => [op.opSeq, op.elems]))
    for (const bucket of buckets) expect(w0.map(op => op.elems)).toContain(bucket.elems)
    // With two ranks an all-reduce sends each element once in each direction: 4 B per element and rank, reports and all.
    const sentByStep2 = buckets.reduce((sum, bucket) => sum + (bucket.elems ?? 0) * 4, 0)
    expect(stepsOf(events)[1]?.bytesSent).toBe(2 * sentByStep2)
  })
})
