import { X509Certificate } from 'node:crypto'
import { expect, test } from 'vitest'
import { issueAuthority, issueForHosts } from './issue.ts'

const day = 86_400_000
const from = (days: number, length = 30) => ({
  notBefore: new Date(Date.now() + days * day),
  notAfter: new Date(Date.now() + (days + length) * day),
})
const codeOf = (promise: Promise<unknown>) =>
  promise.then(() => 'issued').catch((error: { code: string }) => error.code)

test('a certificate is for its names and addresses, signed by the authority, and no authority itself', async () => {
  const authority = await issueAuthority('skein test', from(-1))
  const { cert, key } = await issueForHosts(authority, ['worker-1', 'a.example.org', '10.0.0.7', 'fe80::7'], from(-1))
  const root = new X509Certificate(authority.cert)
  const leaf = new X509Certificate(cert)
  expect([root.ca, leaf.ca]).toEqual([true, false])
  expect(leaf.checkIssued(root) && leaf.verify(root.publicKey)).toBe(true)
  expect([leaf.checkHost('worker-1'), leaf.checkHost('a.example.org'), leaf.checkHost('worker-2')]).toEqual([
    'worker-1',
    'a.example.org',
    undefined,
  ])
  expect([leaf.checkIP('10.0.0.7'), leaf.checkIP('fe80::7'), leaf.checkIP('10.0.0.8')]).toEqual([
    '10.0.0.7',
    'fe80::7',
    undefined,
  ])
  expect(leaf.keyUsage, 'server and client').toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
  expect(leaf.checkPrivateKey((await import('node:crypto')).createPrivateKey(key))).toBe(true)
})

test('no certificate outlives its authority, and no two are alike', async () => {
  const authority = await issueAuthority('short', from(-1, 10))
  const [one, two] = await Promise.all([
    issueForHosts(authority, ['a'], from(0, 400)),
    issueForHosts(authority, ['a'], from(0, 400)),
  ])
  const end = new X509Certificate(authority.cert).validTo
  expect([one, two].map(({ cert }) => new X509Certificate(cert).validTo)).toEqual([end, end])
  expect(new X509Certificate(one.cert).serialNumber).not.toBe(new X509Certificate(two.cert).serialNumber)
})

test.each(['', 'a b', 'http://a', 'a:80', '10.0.0.300', '1.2.3', '-a', 'a-', 'a..b', 'x'.repeat(64), ':::', '[::1]'])(
  'no certificate is made for %j',
  async host => {
    const authority = await issueAuthority('a', from(-1))
    expect(await codeOf(issueForHosts(authority, ['fine', host], from(0)))).toBe('SKEIN_CERTS_BAD_HOST')
  },
)

test('an authority that cannot sign is refused: broken, with another key, expired', async () => {
  const [one, two, old] = await Promise.all([
    issueAuthority('one', from(-1)),
    issueAuthority('two', from(-1)),
    issueAuthority('old', from(-40)),
  ])
  for (const broken of [{ ...one, key: two.key }, { ...one, cert: 'nonsense' }, { ...one, key: one.cert }, old]) {
    expect(await codeOf(issueForHosts(broken, ['a'], from(0)))).toBe('SKEIN_CERTS_BAD_AUTHORITY')
  }
})
