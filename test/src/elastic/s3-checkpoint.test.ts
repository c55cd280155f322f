import path from 'node:path'
import { startS3Server, temporaryFolder } from '@skein/testkit'
import { afterAll, describe, expect, it } from 'vitest'
import { runSkein, stepsOf, tinyJob } from '../skein-process.ts'

const server = await startS3Server()
afterAll(() => server?.[Symbol.asyncDispose]())

describe.skipIf(server === undefined)('a run with its checkpoints on S3', () => {
  it('is resumed from there on fewer members, generated from and exported', async () => {
    using folder = temporaryFolder('s3-run')
    const place = server?.location('runs') ?? ''
    const skein = (...args: string[]) => runSkein([...args, '--json'], 120_000, server?.environment)
    const train = (name: string, ...more: string[]) =>
      skein('train', tinyJob, '--checkpoint-dir', place, '--run-dir', path.join(folder.path, name), ...more)

    const first = await train('first', '--workers', '2', '--steps', '6')
    const checkpoint = String(first.at(-1)?.['checkpoint'])
    expect(checkpoint).toMatch(/^s3:\/\/skein\/runs\/first\/step-00000006\?endpoint=/u)
    const run = checkpoint.replace('/step-00000006', '')

    const second = await train('second', '--workers', '1', '--steps', '8', '--resume', run)
    expect(stepsOf(second).map(event => event.step)).toEqual([7, 8])
    const start = second.find(event => event.event === 'start')
    expect(start?.['digest']).toBe(stepsOf(first).at(-1)?.digest)

    const [generated] = await skein('generate', '--checkpoint', run, '--prompt', 'export ', '--tokens', '4')
    expect(generated?.['tokens']).toHaveLength(4)
    const out = path.join(folder.path, 'hf')
    const [exported] = await skein('export', '--checkpoint', checkpoint, '--out', out)
    expect(exported).toMatchObject({ event: 'exported', from: checkpoint })
    const [same] = await skein('generate', '--checkpoint', out, '--prompt', 'export ', '--tokens', '4')
    expect(same?.['tokens']).toEqual(generated?.['tokens'])
  })
})
