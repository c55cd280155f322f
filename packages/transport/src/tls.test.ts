import { issueAuthority, issueForHosts } from '@skein/certs'
import { SkeinError } from '@skein/core'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { attachControl } from './attach-control.ts'
import { attachLanes } from './attach-lanes.ts'
import { dialControl } from './dial-control.ts'
import { dialLane } from './dial-lane.ts'
import { TransportErrors } from './errors.ts'
import { headerOf, identity, identityFor, KeepingSink, openHandles, token, validity } from './lane-rig.test.util.ts'
import { type Listener, listen } from './listen.ts'
import { checkTlsIdentity, type TlsIdentity, type TlsTrust } from './tls-identity.ts'

const handlesAtStart = openHandles()
const [stranger, otherHost, expired, future] = await Promise.all([
  issueAuthority('a stranger', validity()),
  identityFor(['10.0.0.9', 'other.example.org']),
  identityFor(['127.0.0.1'], validity(-1, -0.5)),
  identityFor(['127.0.0.1'], validity(0.5, 1)),
])
const strangers: TlsIdentity = { ...(await issueForHosts(stranger, ['127.0.0.1'], validity())), ca: stranger.cert }
const { cert: _cert, key: _key, ...caOnly } = identity

/** A port with a control server and a door, spoken to with or without TLS. */
async function open(tls?: TlsIdentity): Promise<Listener> {
  const listener = await listen({ local: true, ...(tls === undefined ? {} : { tls }) })
  attachControl(listener.server, { token, onLink: link => link.onMessage(() => undefined) })
  attachLanes(listener.server).open({ generation: 1, rank: 0, worldSize: 4, token })
  onTestFinished(() => listener.close())
  return listener
}

type Dial = (listener: Listener, trust: TlsTrust | undefined) => Promise<{ close(): unknown }>
const lane =
  (kind: 'raw' | 'ws'): Dial =>
  ({ host, port }, tls) => {
    const who = { token, generation: 1, rank: 1, peer: 0, sink: new KeepingSink() }
    return dialLane({ ...who, kind, host, port, ...(tls === undefined ? {} : { tls }) })
  }
const dials: readonly (readonly [string, Dial])[] = [
  [
    'a control link',
    ({ port }, tls) => {
      const url = `http${tls === undefined ? '' : 's'}://127.0.0.1:${port}`
      return dialControl({ url, token, ...(tls === undefined ? {} : { tls }) })
    },
  ],
  ['a raw lane', lane('raw')],
  ['a WebSocket lane', lane('ws')],
]

describe.each(dials)('%s', (_, dial) => {
  const outcome = async (listener: Listener, trust: TlsTrust | undefined) => {
    try {
      const link = await dial(listener, trust)
      await link.close()
      return 'open'
    } catch (error) {
      if (!(error instanceof SkeinError)) throw error
      expect(error.todo.length).toBeGreaterThan(5)
      return error.code
    }
  }

  test('opens with a certificate of the same authority on both sides', async () => {
    expect(await outcome(await open(identity), identity)).toBe('open')
  })

  test('does not open where the listener is not to be trusted: another host, expired, too early, unknown', async () => {
    for (const shown of [otherHost, expired, future, strangers]) {
      expect(await outcome(await open(shown), identity)).toBe(TransportErrors.TLS_UNTRUSTED.code)
    }
  })

  test('does not open for a dialer without a certificate of the authority, and the listener counts it', async () => {
    const listener = await open(identity)
    for (const shown of [caOnly, { ...strangers, ...caOnly }, { ...expired, ...caOnly }])
      expect(await outcome(listener, shown)).toBe(TransportErrors.TLS_REFUSED.code)
    expect(listener.refused()).toEqual({ noCertificate: 3 })
  })

  test('with TLS on one side only is told so, whichever it is', async () => {
    const secure = await open(identity)
    expect(await outcome(secure, undefined)).toBe(TransportErrors.TLS_NEEDED.code)
    expect(secure.refused()).toEqual({ plainOnTls: 1 })
    const plain = await open()
    expect(await outcome(plain, identity)).toBe(TransportErrors.TLS_NOT_SPOKEN.code)
    expect(plain.refused()).toEqual({ tlsOnPlain: 1 })
  })
})

test('a reader needs no certificate where the authority is asked of links alone', async () => {
  const listener = await listen({ tls: identity, onRequest: (_, response) => response.end('hello') })
  onTestFinished(() => listener.close())
  const https = await import('node:https')
  const body = await new Promise<string>((resolve, reject) => {
    https
      .get(`https://127.0.0.1:${listener.port}/`, { ca: identity.ca, agent: false }, response => {
        response.setEncoding('utf8')
        response.once('data', resolve)
      })
      .on('error', reject)
  })
  expect(body).toBe('hello')
})

test('the Unix socket beside a TLS port stays plain: who is on this host dials it without', async () => {
  const listener = await listen({ tls: identity, local: true })
  onTestFinished(() => listener.close())
  const door = attachLanes(listener.server).open({ generation: 1, rank: 0, worldSize: 2, token })
  const sink = new KeepingSink()
  const path = listener.localPath ?? ''
  const reader = await dialLane({ path, tls: identity, token, generation: 1, rank: 1, peer: 0, sink })
  const writer = await door.lane(1, { timeoutMs: 5_000 })
  await writer.send(headerOf(3, { generation: 1 }), Uint8Array.of(1, 2, 3))
  await sink.until(1)
  expect([...(sink.frames[0]?.payload ?? [])]).toEqual([1, 2, 3])
  reader.close()
})

test('an identity is looked at before it is used: not a pair, not readable, out of date', () => {
  const now = Date.now()
  expect(() => checkTlsIdentity(identity, now)).not.toThrow()
  const wrong: readonly [TlsIdentity, RegExp][] = [
    [{ ...identity, key: otherHost.key }, /not that of the certificate/],
    [{ ...identity, cert: 'nonsense' }, /the certificate cannot be read/],
    [{ ...identity, key: '' }, /the key cannot be read/],
    [{ ...identity, ca: identity.key }, /the authority cannot be read/],
    [expired, /expired on/],
    [future, /valid from/],
  ]
  for (const [shown, text] of wrong) expect(() => checkTlsIdentity(shown, now)).toThrow(text)
})

test('nothing is left open after all tests above', async () => {
  await vi.waitUntil(() => openHandles() <= handlesAtStart, { timeout: 10_000 })
})
