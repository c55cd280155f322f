import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { checkRuntime, describeFiles, quickCheckRuntime } from './manifest.ts'

const key = 'some-key'

/** A folder with two files and their manifest. */
async function makeRuntime(folder: string): Promise<string> {
  fs.mkdirSync(path.join(folder, 'lib'))
  const library = path.join(folder, 'lib', 'a.so')
  fs.writeFileSync(library, 'aaaa')
  fs.writeFileSync(path.join(folder, 'b.node'), 'bb')
  const files = await describeFiles(folder, ['lib/a.so', 'b.node'])
  const manifest = { format: 1, key, tensorflowVersion: '1.2.3', files }
  fs.writeFileSync(path.join(folder, 'manifest.json'), JSON.stringify(manifest))
  return library
}

const age = (file: string) => fs.utimesSync(file, new Date(1000), new Date(1000))

describe('the check of a cached runtime', () => {
  it('passes what was not touched', async () => {
    using folder = temporaryFolder('runtime')
    await makeRuntime(folder.path)
    expect(await checkRuntime(folder.path, key, { full: true })).toMatchObject({ ok: true })
    expect(quickCheckRuntime(folder.path, key)).toMatchObject({ ok: true, manifest: { tensorflowVersion: '1.2.3' } })
  })

  it('is missing where nothing is, and damaged where a set-up broke off or belongs to another key', async () => {
    using folder = temporaryFolder('runtime')
    expect(quickCheckRuntime(path.join(folder.path, 'no'), key)).toMatchObject({ ok: false, state: 'missing' })
    expect(quickCheckRuntime(folder.path, key)).toMatchObject({ ok: false, state: 'damaged' })
    await makeRuntime(folder.path)
    expect(quickCheckRuntime(folder.path, 'other')).toMatchObject({ ok: false, state: 'damaged' })
    fs.writeFileSync(path.join(folder.path, 'manifest.json'), '{"format":1')
    expect(quickCheckRuntime(folder.path, key)).toMatchObject({ ok: false, state: 'damaged' })
  })

  it('finds a file that is cut short or gone by its size', async () => {
    using folder = temporaryFolder('runtime')
    const library = await makeRuntime(folder.path)
    fs.writeFileSync(library, 'aaa')
    expect(quickCheckRuntime(folder.path, key)).toMatchObject({ ok: false, reason: expect.stringContaining(library) })
    fs.rmSync(library)
    expect(await checkRuntime(folder.path, key)).toMatchObject({ ok: false, reason: expect.stringContaining(library) })
  })

  it('hashes a file whose time differs: a copy is whole, a change of the same size is not', async () => {
    using folder = temporaryFolder('runtime')
    const library = await makeRuntime(folder.path)
    age(library)
    expect(await checkRuntime(folder.path, key)).toMatchObject({ ok: true })
    fs.writeFileSync(library, 'aaab')
    age(library)
    expect(await checkRuntime(folder.path, key)).toMatchObject({ ok: false, state: 'damaged' })
  })

  it('finds a change that kept size and time only when it is full', async () => {
    using folder = temporaryFolder('runtime')
    const library = await makeRuntime(folder.path)
    const { atime, mtime } = fs.statSync(library)
    fs.writeFileSync(library, 'aaab')
    fs.utimesSync(library, atime, mtime)
    expect(await checkRuntime(folder.path, key)).toMatchObject({ ok: true })
    expect(await checkRuntime(folder.path, key, { full: true })).toMatchObject({ ok: false, state: 'damaged' })
  })
})
