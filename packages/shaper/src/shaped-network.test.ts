import { once } from 'node:events'
import net from 'node:net'
import { sleep } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import { expect, test } from 'vitest'
import { ShapedNetwork } from './shaped-network.ts'

const seed = useTestSeed()

/** Node b, which answers every connection with what it says; node a dials it. */
async function pair(network: ShapedNetwork) {
  const sockets: net.Socket[] = []
  const all: net.Socket[] = []
  const server = net.createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => undefined)
    sockets.push(socket)
    all.push(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const to = { port: (server.address() as net.AddressInfo).port }
  const port = await network.open({ node: 'b', to, dialer: 'a' })
  const accepted = async () => {
    while (sockets.length === 0) await sleep(1)
    return sockets.pop() as net.Socket
  }
  return {
    to,
    accepted,
    async dial() {
      const near = net.connect({ port: port.port, host: port.host, allowHalfOpen: true })
      const heard = { text: '', ended: false, errno: '' }
      near.on('data', bytes => (heard.text += bytes.toString()))
      near.on('end', () => (heard.ended = true))
      near.on('error', (error: NodeJS.ErrnoException) => (heard.errno = error.code ?? ''))
      near.write('hello')
      const far = await accepted()
      await once(far, 'data')
      return { near, far, heard }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of all) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !holds(); i++) await sleep(2)
  expect(holds()).toBe(true)
}

test('a cut of one direction stops it alone, and what was held arrives when it is healed', async () => {
  await using network = new ShapedNetwork({ seed })
  await using nodes = await pair(network)
  const { near, far, heard } = await nodes.dial()
  const heal = network.edge('b', 'a').cut()
  far.write('lost?')
  near.write('!')
  expect(String((await once(far, 'data'))[0])).toBe('!')
  await sleep(30)
  expect(heard).toEqual({ text: '', ended: false, errno: '' })
  heal()
  await until(() => heard.text === 'lost?')
  far.end()
  near.end()
  await until(() => heard.ended)
})

test.each(['reset', 'end'] as const)('a %s behind a cut is not known until it is healed', async how => {
  await using network = new ShapedNetwork({ seed })
  await using nodes = await pair(network)
  const { near, far, heard } = await nodes.dial()
  const heal = network.edge('b', 'a').cut()
  if (how === 'reset') far.resetAndDestroy()
  else far.end()
  await sleep(30)
  expect(heard).toEqual({ text: '', ended: false, errno: '' })
  heal()
  await until(() => (how === 'reset' ? heard.errno === 'ECONNRESET' : heard.ended))
  near.destroy()
})

test('connections that are made during a cut are cut, too', async () => {
  await using network = new ShapedNetwork({ seed })
  await using nodes = await pair(network)
  const heal = network.edge('b', 'a').cut()
  const { near, far, heard } = await nodes.dial()
  far.write('later')
  await sleep(30)
  expect(heard.text).toBe('')
  heal()
  await until(() => heard.text === 'later')
  near.destroy()
})

test('an edge is slow for whom it slows, and no longer than it is', async () => {
  await using network = new ShapedNetwork({ seed })
  await using nodes = await pair(network)
  const { near, far, heard } = await nodes.dial()
  network.edge('b', 'a').reshape({ delayMs: 60 })
  const sentMs = performance.now()
  far.write('slow')
  await until(() => heard.text === 'slow')
  expect(performance.now() - sentMs).toBeGreaterThan(59)
  network.edge('b', 'a').reshape({})
  far.write(' fast')
  await until(() => heard.text === 'slow fast')
  near.destroy()
})

test('a dialer is known by the head of its request, and each direction of a connection has a tap of its own that may alter it', async () => {
  const taps: string[] = []
  await using network = new ShapedNetwork({
    seed,
    tap: ({ from, to }) => {
      taps.push(`${from} to ${to}`)
      return from === 'c' ? bytes => bytes.set(Buffer.from('X'), bytes.length - 1) : undefined
    },
  })
  await using nodes = await pair(network)
  const heads: string[] = []
  const named = await network.open({
    node: 'b',
    to: nodes.to,
    async dialer(head) {
      heads.push(head)
      return head.slice(-1)
    },
  })
  const near = net.connect({ port: named.port, host: named.host })
  near.on('error', () => undefined)
  near.write('GET / HTTP/1.1\r\nx-from: c\r\n\r\nrest')
  const far = await nodes.accepted()
  expect(String((await once(far, 'data'))[0])).toBe('GET / HTTP/1.1\r\nx-from: c\r\n\r\nresX')
  expect(heads).toEqual(['GET / HTTP/1.1\r\nx-from: c'])
  expect(taps).toEqual(['c to b', 'b to c'])
  near.destroy()
})
