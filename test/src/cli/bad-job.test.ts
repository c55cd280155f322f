import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { expectRefusal } from './expect-error.ts'

/** A small job in YAML in `folder`, with parts of it replaced; returns its path. */
function jobIn(folder: string, changes: Readonly<Record<string, unknown>> = {}): string {
  const corpus = path.join(folder, 'corpus')
  fs.mkdirSync(corpus, { recursive: true })
  const job = {
    name: 'bad',
    model: { kind: 'gpt2', layers: 1, width: 32, heads: 2, context: 32 },
    data: { kind: 'text', paths: corpus },
    batch: { global: 4 },
    mesh: { dp: 2 },
    steps: 2,
    checkpoint: { to: path.join(folder, 'runs') },
    ...changes,
  }
  const file = path.join(folder, 'job.json')
  fs.writeFileSync(file, JSON.stringify(job))
  return file
}

describe('a bad job', () => {
  it('with an unknown key is refused with the nearest known key', async () => {
    using folder = temporaryFolder('job')
    const job = jobIn(folder.path, { optimiser: { kind: 'adamw', lr: 1e-3 } })
    await expectRefusal(['train', job], { code: 'SKEIN_JOB_UNKNOWN_KEY', names: ['optimiser', 'optimizer'] })
    // Nothing was begun.
    expect(fs.existsSync(path.join(folder.path, 'runs'))).toBe(false)
  })

  it('with a batch that the mesh cannot share is refused with both fields', async () => {
    using folder = temporaryFolder('job')
    const job = jobIn(folder.path, { batch: { global: 4 }, mesh: { dp: 3 } })
    await expectRefusal(['train', job], { code: 'SKEIN_JOB_CONFLICT', names: ['batch.global', 'mesh.dp'] })
    await expectRefusal(['train', jobIn(folder.path), '--workers', '8'], {
      code: 'SKEIN_JOB_CONFLICT',
      names: ['batch.global', 'mesh.dp'],
    })
  })

  it('that is not there, or no job, is refused', async () => {
    using folder = temporaryFolder('job')
    await expectRefusal(['train', path.join(folder.path, 'none.ts')], { code: 'SKEIN_JOB_NOT_FOUND' })
    const broken = path.join(folder.path, 'broken.yaml')
    fs.writeFileSync(broken, 'model: [1,')
    await expectRefusal(['train', broken], { code: 'SKEIN_JOB_UNREADABLE' })
  })

  it('is refused by the coordinator in the same words', async () => {
    using folder = temporaryFolder('job')
    const job = jobIn(folder.path, { stepz: 3 })
    await expectRefusal(['coordinator', '--job', job, '--workers', '2'], {
      code: 'SKEIN_JOB_UNKNOWN_KEY',
      names: ['stepz', 'steps'],
    })
  })
})

describe('bad data', () => {
  it('that is missing ends the run with the folder’s name', async () => {
    using folder = temporaryFolder('data')
    const missing = path.join(folder.path, 'nowhere')
    await expectRefusal(['train', jobIn(folder.path), '--data', missing], {
      code: 'SKEIN_DATA_PATH_MISSING',
      names: [missing],
    })
  })

  it('that is empty ends the run with the folder’s name', async () => {
    using folder = temporaryFolder('data')
    const job = jobIn(folder.path)
    await expectRefusal(['train', job], {
      code: 'SKEIN_DATA_NO_DOCUMENTS',
      names: [path.join(folder.path, 'corpus')],
    })
  })

  it('that is smaller than one batch ends the run with both numbers', async () => {
    using folder = temporaryFolder('data')
    const job = jobIn(folder.path)
    for (let i = 0; i < 6; i++) fs.writeFileSync(path.join(folder.path, 'corpus', `${i}.txt`), `a few words ${i}`)
    await expectRefusal(['train', job], { code: 'SKEIN_DATA_TOO_SMALL', names: ['batch.global'] })
  })
})

describe('a bad place to run', () => {
  it('a port in use is named, and nothing waits for it', async () => {
    using folder = temporaryFolder('port')
    const taken = net.createServer()
    await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve))
    try {
      const { port } = taken.address() as net.AddressInfo
      await expectRefusal(['train', jobIn(folder.path), '--port', String(port)], {
        code: 'SKEIN_COORDINATOR_PORT_IN_USE',
        names: [String(port)],
      })
    } finally {
      taken.close()
    }
  })

  it('a coordinator that is not there is named by status, watch and the worker', async () => {
    const url = 'http://127.0.0.1:9'
    await expectRefusal(['status', url], { code: 'SKEIN_CLI_COORDINATOR_UNREACHABLE', names: [url] })
    await expectRefusal(['watch', url], { code: 'SKEIN_CLI_COORDINATOR_UNREACHABLE', names: [url] })
    await expectRefusal(['worker', '--join', url, '--join-timeout', '2'], {
      code: 'SKEIN_WORKER_COORDINATOR_UNREACHABLE',
      names: [url],
    })
  })

  it('beyond this machine without a token is refused', async () => {
    using folder = temporaryFolder('host')
    await expectRefusal(
      ['coordinator', '--job', jobIn(folder.path), '--workers', '2', '--host', '0.0.0.0'],
      { code: 'SKEIN_COORDINATOR_TOKEN_NEEDED', names: ['0.0.0.0', 'SKEIN_TOKEN'] },
      { SKEIN_TOKEN: '' },
    )
  })
})
