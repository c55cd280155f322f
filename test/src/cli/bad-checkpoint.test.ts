import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runSkein, tinyJob } from '../skein-process.ts'
import { expectRefusal } from './expect-error.ts'

const folder = temporaryFolder('bad-checkpoint')
const runDir = path.join(folder.path, 'first')
let checkpoint = ''

/** A copy of the good checkpoint, for a test to spoil. */
function copyNamed(name: string): string {
  const copy = path.join(folder.path, name, path.basename(checkpoint))
  fs.cpSync(checkpoint, copy, { recursive: true })
  return copy
}

function flipByte(file: string): void {
  const bytes = fs.readFileSync(file)
  const at = bytes.length - 1000
  bytes[at] = (bytes[at] ?? 0) ^ 0x10
  fs.writeFileSync(file, bytes)
}

const resume = (from: string) => [
  'train',
  tinyJob,
  '--workers',
  '2',
  '--steps',
  '4',
  '--run-dir',
  `${path.dirname(from)}-resumed`,
  '--resume',
  from,
]
const generate = (from: string) => ['generate', '--checkpoint', from, '--prompt', 'export ', '--tokens', '4']

beforeAll(async () => {
  const events = await runSkein(['train', tinyJob, '--workers', '2', '--steps', '2', '--run-dir', runDir, '--json'])
  checkpoint = events.find(event => event.event === 'done')?.['checkpoint'] as string
})
afterAll(() => folder[Symbol.dispose]())

describe('a checkpoint', () => {
  it('that is whole is generated from, scored and exported', async () => {
    const [generated] = await runSkein([...generate(runDir), '--json'])
    expect(generated).toMatchObject({ event: 'generated', prompt: 'export ' })
    expect(generated?.['tokens']).toHaveLength(4)
    const out = path.join(folder.path, 'hf')
    const [exported] = await runSkein(['export', '--checkpoint', checkpoint, '--format', 'hf', '--out', out, '--json'])
    expect(exported).toMatchObject({ event: 'exported', out })
    const [same] = await runSkein([...generate(out), '--json'])
    expect(same?.['tokens']).toEqual(generated?.['tokens'])
  })

  it('cut short is refused by --resume and generate', async () => {
    const copy = copyNamed('short')
    const file = path.join(copy, 'model.safetensors')
    fs.truncateSync(file, fs.statSync(file).size - 8)
    const expected = { code: 'SKEIN_CHECKPOINT_CUT_SHORT', names: [file] }
    await expectRefusal(generate(copy), expected)
    await expectRefusal(resume(copy), expected)
  })

  it('with a flipped byte is refused by --resume and generate', async () => {
    const copy = copyNamed('flipped')
    const file = path.join(copy, 'model.safetensors')
    flipByte(file)
    const expected = { code: 'SKEIN_CHECKPOINT_CORRUPT', names: [file] }
    await expectRefusal(generate(copy), expected)
    await expectRefusal(resume(copy), expected)
  })

  it('with a flipped byte in the optimizer’s state is refused by --resume', async () => {
    const copy = copyNamed('moments')
    const file = path.join(copy, 'optimizer.safetensors')
    flipByte(file)
    await expectRefusal(resume(copy), { code: 'SKEIN_CHECKPOINT_CORRUPT', names: [file] })
  })

  it('that was never finished is refused by --resume and generate', async () => {
    const copy = copyNamed('unfinished')
    fs.rmSync(path.join(copy, 'manifest.json'))
    await expectRefusal(resume(copy), { code: 'SKEIN_CHECKPOINT_NO_MANIFEST' })
    await expectRefusal(generate(copy), { code: 'SKEIN_CHECKPOINT_NO_MANIFEST' })
  })

  it('of another model is refused with the fields that differ', async () => {
    const copy = copyNamed('other')
    const file = path.join(copy, 'manifest.json')
    const manifest = JSON.parse(fs.readFileSync(file, 'utf8')) as { model: { width: number } }
    const { width } = manifest.model
    manifest.model.width = 2 * width
    fs.writeFileSync(file, JSON.stringify(manifest))
    await expectRefusal(resume(copy), {
      code: 'SKEIN_CHECKPOINT_OTHER_MODEL',
      names: ['model.width', String(width), String(2 * width)],
    })
  })

  it('that is not there is refused', async () => {
    const nowhere = path.join(folder.path, 'nowhere')
    await expectRefusal(resume(nowhere), { code: 'SKEIN_CHECKPOINT_NOT_FOUND', names: [nowhere] })
    await expectRefusal(generate(nowhere), { code: 'SKEIN_CLI_NO_MODEL', names: [nowhere] })
  })
})
