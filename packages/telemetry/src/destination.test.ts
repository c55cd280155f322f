import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { expect, test, vi } from 'vitest'
import { fileDestination } from './destination.ts'

test('a disk that is full for a while costs the lines of that while', async () => {
  using folder = temporaryFolder('full')
  const file = path.join(folder.path, 'w0.log')
  const out = fileDestination(file, 500)
  out.write('before\n')
  await out.flush()
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
  const write = vi.spyOn(fs, 'write').mockImplementation(((...args: unknown[]) => {
    const done = args.at(-1) as (error: Error) => void
    setImmediate(() => done(full))
  }) as typeof fs.write)
  out.write('kept for later\n')
  await vi.waitFor(() => expect(write).toHaveBeenCalled())
  await new Promise(resolve => setImmediate(resolve))
  out.write('lost\n')
  write.mockRestore()
  await new Promise(resolve => setTimeout(resolve, 600))
  out.write('after\n')
  await out.close()
  expect(fs.readFileSync(file, 'utf8')).toBe('before\nkept for later\nafter\n')
})
