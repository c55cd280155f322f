import { once } from 'node:events'
import net from 'node:net'
import tls from 'node:tls'
import { within } from '@skein/core'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { attachControl } from './attach-control.ts'
import { attachLanes } from './attach-lanes.ts'
import type { ControlLink } from './control-link.ts'
import { dialControl } from './dial-control.ts'
import { identity, openHandles, token } from './lane-rig.test.util.ts'
import { type Listener, type ListenOptions, listen } from './listen.ts'
import type { TlsIdentity } from './tls-identity.ts'

const handlesAtStart = openHandles()

async function open(options: ListenOptions): Promise<Listener> {
  const listener = await listen(options)
  attachControl(listener.server, { token, onLink: link => link.onMessage(() => undefined) })
  attachLanes(listener.server, { maxHeld: 3 }).open({ generation: 1, rank: 0, worldSize: 2, token })
  onTestFinished(() => listener.close())
  return listener
}

async function member({ port }: Listener, shown: TlsIdentity | undefined): Promise<ControlLink> {
  const url = `http${shown === undefined ? '' : 's'}://127.0.0.1:${port}`
  const link = await dialControl({ url, token, ...(shown === undefined ? {} : { tls: shown }) })
  link.onMessage(() => undefined)
  onTestFinished(async () => void (await link.close()))
  return link
}

/** Somebody who connects from one address of this host and says `words`; `gone` settles when it is put out. */
async function stranger(
  { port }: Listener,
  words: string | Uint8Array = '',
  from = '127.0.0.1',
): Promise<{ socket: net.Socket; gone: Promise<unknown> }> {
  const socket = net.connect({ host: '127.0.0.1', port, localAddress: from })
  socket.on('error', () => undefined)
  socket.resume()
  const gone = within(new Promise(resolve => socket.once('close', resolve)), { what: 'the end', timeoutMs: 8_000 })
  gone.catch(() => undefined)
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  if (words.length > 0) socket.write(words)
  return { socket, gone }
}

const unfinished = 'GET /control HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: '

describe.each([
  ['plain', undefined],
  ['TLS', identity],
])('a %s port', (_, shown) => {
  const options: ListenOptions = shown === undefined ? {} : { tls: shown }

  test('puts out the oldest of the busiest address beyond its limit, never a member, never one that is alone', async () => {
    const listener = await open({ ...options, maxStrangers: 5 })
    const link = await member(listener, shown)
    const alone = await stranger(listener, '', '127.0.0.9')
    const flood = []
    for (let i = 0; i < 40; i++) flood.push(await stranger(listener, '', '127.0.0.8'))
    await Promise.all(flood.slice(0, -4).map(({ gone }) => gone))
    await vi.waitUntil(() => listener.refused().halfOpen === 36, { timeout: 5_000 })
    const late = await member(listener, shown)
    for (const one of [link, late]) await one.send({ type: 'heartbeat', progress: 1, step: 0, opsEntered: 0 })
    expect(alone.socket.destroyed).toBe(false)
    expect(Object.keys(listener.refused())).toEqual(['halfOpen'])
  })

  test('puts out in time who says nothing, a byte now and then, or half a request; members stay', async () => {
    const listener = await open({ ...options, headersTimeoutMs: 120 })
    const link = await member(listener, shown)
    const silent = await stranger(listener)
    const half = await stranger(listener, shown === undefined ? unfinished : Uint8Array.of(0x16, 3, 1))
    const slow = await stranger(listener)
    const words = shown === undefined ? Buffer.from(unfinished.repeat(9)) : Buffer.alloc(999, 0x16)
    let said = 0
    const drip = setInterval(() => slow.socket.write(words.subarray(said, ++said)), 10)
    onTestFinished(() => clearInterval(drip))
    await Promise.all([silent.gone, half.gone, slow.gone])
    const counts = listener.refused()
    expect((counts.slow ?? 0) + (counts.tlsHandshake ?? 0) + (counts.garbage ?? 0)).toBe(3)
    await link.send({ type: 'heartbeat', progress: 1, step: 0, opsEntered: 0 })
  })

  test('ends nonsense, an endless head and unknown paths at once, and counts each', async () => {
    const listener = await open(options)
    const port = listener.port
    const through = async (words: string): Promise<void> => {
      if (shown === undefined) return void (await (await stranger(listener, words)).gone)
      const socket = tls.connect({ host: '127.0.0.1', port, ca: shown.ca, cert: shown.cert, key: shown.key })
      socket.on('error', () => undefined)
      socket.resume()
      onTestFinished(() => void socket.destroy())
      await once(socket, 'secureConnect')
      const gone = new Promise(resolve => socket.once('close', resolve))
      socket.write(words)
      await within(gone, { what: 'the end', timeoutMs: 8_000 })
    }
    await (await stranger(listener, '\0\0\0 nonsense\r\n\r\n')).gone
    await through(unfinished + 'x'.repeat(20_000))
    await through(`${unfinished.replace('/control', '/nowhere')}\r\n\r\n`)
    await through(`${unfinished}\r\n\r\n`)
    await through(`${unfinished}\r\nAuthorization: Bearer wrong\r\n\r\n`)
    await through(`${unfinished.replace('/control', '/lane')}\r\n\r\n`)
    expect(listener.refused()).toEqual({ garbage: 1, oversizedHead: 1, badRequest: 2, noToken: 1, badToken: 1 })
  })
})

test('of the dialers of a generation to come only so many are held, and a flood puts out its own', async () => {
  const listener = await open({})
  const early = (from: number) =>
    'GET /lane HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: skein-lane/1\r\nX-Skein-Generation: 2\r\n' +
    `X-Skein-From: ${from}\r\nX-Skein-To: 0\r\nX-Skein-Nonce: ${'a'.repeat(32)}\r\nX-Skein-Proof: ${'b'.repeat(64)}\r\n\r\n`
  const alone = await stranger(listener, early(1), '127.0.0.9')
  const flood = []
  for (let i = 0; i < 5; i++) flood.push(await stranger(listener, early(1), '127.0.0.8'))
  await Promise.all(flood.slice(0, -2).map(({ gone }) => gone))
  expect(listener.refused()).toEqual({ tooMany: 3 })
  expect(alone.socket.destroyed).toBe(false)
})

test('nothing is left open after all tests above', async () => {
  await vi.waitUntil(() => openHandles() <= handlesAtStart, { timeout: 10_000 })
})
