import http from 'node:http'
import type net from 'node:net'
import { once } from 'node:events'
import { SkeinError } from '@skein/core'
import { describe, expect, it, onTestFinished } from 'vitest'
import { dialControl } from './dial-control.ts'
import { dialInTurn } from './dial-in-turn.ts'
import { TransportErrors } from './errors.ts'

const standby = (leader?: string) =>
  new SkeinError(TransportErrors.STANDBY, {
    what: 'stands by',
    todo: '',
    details: leader === undefined ? {} : { leader },
  })
const absent = () => new SkeinError(TransportErrors.UNREACHABLE, { what: 'nobody', todo: '' })
const barred = () => new SkeinError(TransportErrors.UNAUTHORIZED, { what: 'no token', todo: '' })

/** Dials places that answer as `answers` says; one that is not there answers as the leader does. */
async function dialled(urls: readonly string[], answers: Readonly<Record<string, SkeinError>>) {
  const order: string[] = []
  const outcome = await dialInTurn(urls, async url => {
    order.push(url)
    const error = answers[url]
    if (error !== undefined) throw error
    return url
  }).catch((error: SkeinError) => error.code)
  return { order, outcome }
}

describe('dialling coordinators in turn', () => {
  it('goes on from one that is absent or stands by, in the order given', async () => {
    const { order, outcome } = await dialled(['http://a', 'http://b', 'http://c', 'http://d'], {
      'http://a': absent(),
      'http://b': standby(),
    })
    expect(order).toEqual(['http://a', 'http://b', 'http://c'])
    expect(outcome).toBe('http://c')
  })

  it('dials at once whom a standby names, also one that is not in the list', async () => {
    const { order, outcome } = await dialled(['http://a', 'http://b'], { 'http://a': standby('http://leader') })
    expect(order).toEqual(['http://a', 'http://leader'])
    expect(outcome).toBe('http://leader')
  })

  it('dials nobody twice, although two that stand by name each other', async () => {
    const { order, outcome } = await dialled(['http://a', 'http://b', 'http://a'], {
      'http://a': standby('http://b/'),
      'http://b': standby('http://a/'),
      'http://b/': standby('http://a/'),
    })
    expect(order).toEqual(['http://a', 'http://b/'])
    expect(outcome).toBe(TransportErrors.STANDBY.code)
  })

  it('ends with what is final, and otherwise says first of all that somebody stands by', async () => {
    const final = await dialled(['http://a', 'http://b'], { 'http://a': barred() })
    expect(final).toEqual({ order: ['http://a'], outcome: TransportErrors.UNAUTHORIZED.code })
    const leaderless = await dialled(['http://a', 'http://b'], {
      'http://a': absent(),
      'http://b': standby('http://a'),
    })
    expect(leaderless.outcome).toBe(TransportErrors.STANDBY.code)
    expect((await dialled([], {})).outcome).toBe(TransportErrors.BAD_ADDRESS.code)
  })

  it('goes on from one that does not answer as a coordinator does: it may be about to end', async () => {
    const invalid = new SkeinError(TransportErrors.HANDSHAKE_INVALID, { what: 'status 404', todo: '' })
    const urls = ['http://a', 'http://b']
    expect((await dialled(urls, { 'http://a': invalid })).outcome).toBe('http://b')
    const worthAnother = await dialled(urls, { 'http://a': invalid, 'http://b': absent() })
    expect(worthAnother.outcome).toBe(TransportErrors.UNREACHABLE.code)
    expect((await dialled(['http://a'], { 'http://a': invalid })).outcome).toBe(invalid.code)
  })

  it('takes from a standby no address that is none, nor one without TLS where it was dialled with', async () => {
    for (const leader of ['leader', 'ftp://leader', 'http://leader']) {
      const { order } = await dialled(['https://a', 'https://b'], { 'https://a': standby(leader) })
      expect(order).toEqual(['https://a', 'https://b'])
    }
    const { order } = await dialled(['https://a'], { 'https://a': standby('https://leader') })
    expect(order).toEqual(['https://a', 'https://leader'])
  })
})

describe('an answer with status 421', () => {
  const dialOneThatAnswers = async (headers: Readonly<Record<string, string>>): Promise<unknown> => {
    const server = http.createServer()
    server.on('upgrade', (_request, socket) => {
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
      socket.end(['HTTP/1.1 421 Misdirected Request', ...lines, 'connection: close', '', ''].join('\r\n'))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => {
      server.close()
    })
    const url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`
    return dialControl({ url, token: 't', timeoutMs: 5_000 }).catch((error: unknown) => error)
  }

  it('of a coordinator says that it stands by, and who leads where it knows', async () => {
    const reason = { 'x-skein-reason': 'this coordinator stands by' }
    expect(await dialOneThatAnswers({ ...reason, 'x-skein-leader': 'http://h:1' })).toMatchObject({
      code: TransportErrors.STANDBY.code,
      retry: 'same-op',
      details: { leader: 'http://h:1' },
    })
    const error = await dialOneThatAnswers(reason)
    expect(error).toMatchObject({ code: TransportErrors.STANDBY.code })
    expect((error as SkeinError).details).not.toHaveProperty('leader')
  })

  it('of something else is no standby', async () => {
    expect(await dialOneThatAnswers({})).toMatchObject({ code: TransportErrors.HANDSHAKE_INVALID.code })
  })
})
