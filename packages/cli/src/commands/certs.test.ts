import { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { checkTlsIdentity } from '@skein/transport'
import { temporaryFolder } from '@skein/testkit'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { CliErrors } from '../errors.ts'
import { readTlsIdentity, readTlsTrust } from '../tls-files.ts'
import { certs } from './certs.ts'

// The command tells where the files are; the reporter of these tests is not its reader.
beforeEach(() => void vi.spyOn(process.stdout, 'write').mockReturnValue(true))
afterEach(() => void vi.restoreAllMocks())

const read = (...parts: string[]) => fs.readFileSync(path.join(...parts), 'utf8')
const modeOf = (...parts: string[]) => fs.statSync(path.join(...parts)).mode & 0o777
const make = (out: string, hosts: string[], each = false) => certs({ hosts, out, days: 30, each, json: true })

it('writes one certificate for all hosts that --tls takes, its keys for this user alone', async () => {
  using folder = temporaryFolder('certs')
  await make(folder.path, ['worker-1', '10.0.0.7'])
  const shown = readTlsIdentity({ tls: folder.path })
  if (shown === undefined) throw new Error('the folder was given')
  checkTlsIdentity(shown, Date.now())
  const certificate = new X509Certificate(shown.cert)
  expect(certificate.verify(new X509Certificate(shown.ca ?? '').publicKey)).toBe(true)
  expect(['worker-1', 'localhost'].map(name => certificate.checkHost(name))).toEqual(['worker-1', 'localhost'])
  expect(certificate.checkIP('10.0.0.7')).toBe('10.0.0.7')
  expect(['ca-key.pem', 'key.pem'].map(name => modeOf(folder.path, name))).toEqual([0o600, 0o600])
})

it('signs again with the authority that the folder holds; a folder for each host, if wanted', async () => {
  using folder = temporaryFolder('certs')
  await make(folder.path, ['worker-1'])
  const [ca, cert] = ['ca.pem', 'cert.pem'].map(name => read(folder.path, name))
  fs.chmodSync(path.join(folder.path, 'key.pem'), 0o644)
  await make(folder.path, ['worker-1'])
  expect(read(folder.path, 'ca.pem')).toBe(ca)
  expect(read(folder.path, 'cert.pem')).not.toBe(cert)
  expect(modeOf(folder.path, 'key.pem')).toBe(0o600)
  await make(folder.path, ['a', 'b'], true)
  for (const host of ['a', 'b']) {
    const shown = readTlsIdentity({ tls: path.join(folder.path, host) })
    expect(shown?.ca).toBe(ca)
    const certificate = new X509Certificate(shown?.cert ?? '')
    expect(['a', 'b'].map(name => certificate.checkHost(name))).toEqual([
      host === 'a' ? 'a' : undefined,
      host === 'b' ? 'b' : undefined,
    ])
  }
})

it('writes nothing where a host cannot be', async () => {
  using folder = temporaryFolder('certs')
  const out = path.join(folder.path, 'new')
  await expect(make(out, ['fine', 'not fine'])).rejects.toMatchObject({ code: 'SKEIN_CERTS_BAD_HOST' })
  expect(fs.readdirSync(out)).toEqual([])
})

it('is read by parts as well; half a pair and missing files are said', async () => {
  using folder = temporaryFolder('certs')
  await make(folder.path, ['a'])
  const [ca, cert, key] = ['ca.pem', 'cert.pem', 'key.pem'].map(name => path.join(folder.path, name)) as [
    string,
    string,
    string,
  ]
  expect(readTlsIdentity({})).toBeUndefined()
  expect(Object.keys(readTlsIdentity({ tlsCert: cert, tlsKey: key }) ?? {})).toEqual(['cert', 'key'])
  expect(readTlsTrust({ tlsCa: ca })).toEqual({ ca: read(ca) })
  for (const half of [{ tlsCert: cert }, { tlsKey: key }, { tlsCa: ca }])
    expect(() => readTlsIdentity(half)).toThrow(expect.objectContaining({ code: CliErrors.USAGE.code }))
  expect(() => readTlsTrust({ tls: '/nowhere' })).toThrow(expect.objectContaining({ code: CliErrors.TLS_FILE.code }))
})
