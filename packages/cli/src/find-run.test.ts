import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { CliErrors } from './errors.ts'
import { findRun, keepToken } from './find-run.ts'

function running(runs: string, name: string, atSeconds: number): string {
  const folder = path.join(runs, name)
  fs.mkdirSync(folder, { recursive: true })
  const file = path.join(folder, 'coordinator.json')
  fs.writeFileSync(file, JSON.stringify({ pid: 1, url: `http://127.0.0.1:${atSeconds}`, runId: name }))
  fs.utimesSync(file, atSeconds, atSeconds)
  return folder
}

describe('the run that is meant', () => {
  it('is the URL where there is one, with the token given', () => {
    expect(findRun('http://h:1', { token: 't' })).toEqual({ urls: ['http://h:1'], token: 't' })
    expect(findRun('http://h:1, http://h:2', {})).toEqual({ urls: ['http://h:1', 'http://h:2'] })
    expect(findRun('https://h:1', {})).toEqual({ urls: ['https://h:1'] })
  })

  it('is the run of a folder, or the newest that goes on, with the token kept for this user alone', () => {
    using root = temporaryFolder('runs')
    const older = running(root.path, 'a', 100)
    const newer = running(root.path, 'b', 200)
    fs.mkdirSync(path.join(root.path, 'over'))
    const forget = keepToken(older, 'secret')
    expect(fs.statSync(path.join(older, 'token')).mode & 0o077).toBe(0)
    expect(findRun(older, {})).toEqual({ urls: ['http://127.0.0.1:100'], token: 'secret' })
    expect(findRun(older, { token: 'given' })).toEqual({ urls: ['http://127.0.0.1:100'], token: 'given' })
    expect(findRun(undefined, {}, root.path)).toEqual({ urls: ['http://127.0.0.1:200'] })
    fs.rmSync(path.join(newer, 'coordinator.json'))
    expect(findRun(undefined, {}, root.path).urls).toEqual(['http://127.0.0.1:100'])
    forget()
    expect(findRun(older, {})).toEqual({ urls: ['http://127.0.0.1:100'] })
  })

  it('over TLS is believed by the authority that its coordinator has published, unless another is given', () => {
    using root = temporaryFolder('runs')
    const folder = running(root.path, 'a', 100)
    const facts = { pid: 1, url: 'https://127.0.0.1:7', runId: 'a', ca: 'PEM' }
    fs.writeFileSync(path.join(folder, 'coordinator.json'), JSON.stringify(facts))
    expect(findRun(folder, {})).toEqual({ urls: [facts.url], tls: { ca: 'PEM' } })
    expect(findRun(folder, { tls: { ca: 'other' } })).toEqual({ urls: [facts.url], tls: { ca: 'other' } })
  })

  it('is said to be none where nothing runs', () => {
    using root = temporaryFolder('runs')
    for (const given of [undefined, root.path, '127.0.0.1:7070']) {
      expect(() => findRun(given, {}, root.path)).toThrow(
        expect.objectContaining({ code: CliErrors.NO_RUN.code }) as Error,
      )
    }
  })
})
