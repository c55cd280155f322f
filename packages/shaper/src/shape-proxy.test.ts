import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import { seededRandom } from '@skein/core'
import { temporaryFolder, useTestSeed } from '@skein/testkit'
import { expect, test } from 'vitest'
import { shapeProxy, type ShapeProxyOptions } from './shape-proxy.ts'

const seed = useTestSeed()
const MiB = 2 ** 20

const count = (names: RegExp) => process.getActiveResourcesInfo().filter(name => names.test(name)).length
const openHandles = () => count(/^(TCP|Pipe)/)
const handlesAtStart = openHandles()

/** A server that gives every connection to `onSocket`; ends with its block. */
async function serve(onSocket: (socket: net.Socket) => void) {
  const sockets = new Set<net.Socket>()
  const server = net.createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    onSocket(socket)
  })
  server.listen({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  return {
    to: { port: (server.address() as net.AddressInfo).port },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Sends `bytes`, ends, and resolves with what came back and how the connection ended. */
async function exchange(address: net.NetConnectOpts, bytes: Uint8Array) {
  const socket = net.connect({ ...address, allowHalfOpen: true })
  const parts: Buffer[] = []
  let error: NodeJS.ErrnoException | undefined
  socket.on('data', part => parts.push(part as Buffer))
  socket.on('error', cause => {
    error = cause
  })
  const closed = new Promise(resolve => socket.once('close', resolve))
  socket.end(bytes)
  await closed
  return { back: Buffer.concat(parts), errno: error?.code }
}

function randomBytes(length: number): Buffer {
  const random = seededRandom(seed, length)
  return Buffer.from(Uint32Array.from({ length: Math.ceil(length / 4) }, () => random.nextUint32()).buffer, 0, length)
}

const echo = (socket: net.Socket) => void socket.pipe(socket)

test.each([{}, { rateMbit: 400, delayMs: 3, jitterMs: 2 }, { maxHeldBytes: 1 }])(
  'bytes pass unchanged both ways, each direction ends when the other has, and nothing is left: %j',
  async shape => {
    {
      await using server = await serve(echo)
      await using proxy = await shapeProxy({ to: server.to, seed, ...shape })
      const bytes = randomBytes(300_001)
      const { back, errno } = await exchange({ port: proxy.port }, bytes)
      expect(errno).toBeUndefined()
      expect(back.equals(bytes)).toBe(true)
      expect([proxy.numConnections, proxy.heldBytes]).toEqual([0, 0])
    }
    await expect.poll(openHandles).toBe(handlesAtStart)
  },
)

test('it listens on a Unix socket and dials one', async () => {
  using folder = temporaryFolder('shaper')
  const [outer, inner] = [path.join(folder.path, 'a'), path.join(folder.path, 'b')]
  await using server = await serve(echo)
  await using first = await shapeProxy({ to: server.to, path: inner, seed })
  await using second = await shapeProxy({ to: { path: inner }, path: outer, seed })
  const { back } = await exchange({ path: outer }, Buffer.from('through two'))
  expect(back.toString()).toBe('through two')
  expect([first.port, second.port, second.path]).toEqual([0, 0, outer])
  second.cut()
})

test('nothing is faster than rate and delay', async () => {
  await using server = await serve(echo)
  await using proxy = await shapeProxy({ to: server.to, rateMbit: 16, delayMs: 20, seed })
  const start = performance.now()
  const { back } = await exchange({ port: proxy.port }, new Uint8Array(100_000))
  expect(back).toHaveLength(100_000)
  expect(performance.now() - start).toBeGreaterThan(100_000 / 2_000 + 2 * 20)
})

test('a receiver that does not read stops the sender: the proxy holds no more than its bound', async () => {
  let sent = 0
  await using server = await serve(socket => {
    const send = () => {
      while (sent < 256 * MiB && socket.write(new Uint8Array(MiB))) sent += MiB
    }
    socket.on('drain', send)
    send()
  })
  const maxHeldBytes = 200_000
  await using proxy = await shapeProxy({ to: server.to, maxHeldBytes, seed })
  const socket = net.connect(proxy.port)
  await once(socket, 'connect')
  for (let last = -1; last !== sent; await new Promise(resolve => setTimeout(resolve, 60))) last = sent
  expect(sent).toBeGreaterThan(0)
  expect(sent).toBeLessThan(128 * MiB)
  expect(proxy.heldBytes).toBeGreaterThan(0)
  expect(proxy.heldBytes).toBeLessThan(maxHeldBytes + 65_536)
  socket.destroy()
})

/** A server that sends the same bytes to everyone and ends. */
const giving = (bytes: Uint8Array) => serve(socket => socket.end(bytes))

async function received(options: Omit<ShapeProxyOptions, 'seed'>) {
  await using proxy = await shapeProxy({ seed, ...options })
  return await exchange({ port: proxy.port }, new Uint8Array(0))
}

test.each([0, 1, 65_536, 99_999, 100_000])(
  'of a connection cut at byte %i nothing from there on arrives, but a reset',
  async cutAt => {
    const bytes = randomBytes(100_000)
    await using server = await giving(bytes)
    const { back, errno } = await received({ to: server.to, cutAt })
    expect(back.length).toBeLessThanOrEqual(cutAt)
    expect(back.equals(bytes.subarray(0, back.length))).toBe(true)
    expect(errno).toBe('ECONNRESET')
  },
)

test.each([0, 70_000, 99_999])(
  'of a corrupt stream one bit of byte %i is another, the same for a seed',
  async corruptAt => {
    const bytes = randomBytes(100_000)
    await using server = await giving(bytes)
    const { back } = await received({ to: server.to, corruptAt })
    const changed = Array.from(bytes.keys()).filter(i => back[i] !== bytes[i])
    expect(back).toHaveLength(bytes.length)
    expect(changed).toEqual([corruptAt])
    const bit = (back[corruptAt] ?? 0) ^ (bytes[corruptAt] ?? 0)
    expect(Math.log2(bit) % 1).toBe(0)
    expect((await received({ to: server.to, corruptAt })).back.equals(back)).toBe(true)
  },
)

test('a stalled stream stops at its byte and goes on when it may', async () => {
  const bytes = randomBytes(100_000)
  await using server = await giving(bytes)
  await using proxy = await shapeProxy({ to: server.to, stallAt: 30_000, seed })
  const socket = net.connect(proxy.port)
  const parts: Buffer[] = []
  const length = () => parts.reduce((sum, part) => sum + part.length, 0)
  socket.on('data', part => parts.push(part as Buffer))
  for (let last = -1; last !== length() || last === 0; await new Promise(resolve => setTimeout(resolve, 30))) {
    last = length()
  }
  expect(length()).toBe(30_000)
  proxy.goOn()
  await once(socket, 'end')
  expect(Buffer.concat(parts).equals(bytes)).toBe(true)
})

test('faults concern one direction, and one connection if asked', async () => {
  const bytes = randomBytes(50_000)
  await using server = await serve(echo)
  const faulty = { corruptAt: 7, faultyDirection: 'from-dialer', faultyConnection: 1 } as const
  await using proxy = await shapeProxy({ to: server.to, seed, ...faulty })
  const changes: boolean[] = []
  for (let connection = 0; connection < 3; connection++) {
    const { back } = await exchange({ port: proxy.port }, bytes)
    changes.push(!back.equals(bytes))
  }
  expect(changes).toEqual([false, true, false])
})

test('cut by hand resets everyone, and a target that is not there does the same to who comes', async () => {
  const server = await serve(echo)
  await using proxy = await shapeProxy({ to: server.to, seed })
  const socket = net.connect(proxy.port)
  const failed = new Promise<NodeJS.ErrnoException>(resolve => socket.once('error', resolve))
  // Once the far end answers, the connection goes all the way.
  socket.write('x')
  await once(socket, 'data')
  proxy.cut()
  expect((await failed).code).toBe('ECONNRESET')
  await server[Symbol.asyncDispose]()
  expect((await exchange({ port: proxy.port }, Buffer.from('x'))).errno).toBe('ECONNRESET')
})

test('close ends what is under way, and closing again is harmless', async () => {
  const timers = count(/^Timeout/)
  const server = await serve(() => undefined)
  const proxy = await shapeProxy({ to: server.to, delayMs: 10_000, seed })
  const socket = net.connect(proxy.port)
  socket.on('error', () => undefined)
  socket.write('held')
  while (proxy.heldBytes === 0) await new Promise(resolve => setTimeout(resolve, 5))
  await Promise.all([proxy.close(), proxy.close()])
  await proxy.close()
  await server[Symbol.asyncDispose]()
  socket.destroy()
  // An earlier test's own may have run out meanwhile.
  expect(count(/^Timeout/)).toBeLessThanOrEqual(timers)
  await expect.poll(openHandles).toBe(handlesAtStart)
})

test('a bad shape is refused before anything listens', async () => {
  const to = { port: 1 }
  await expect(shapeProxy({ to, rateMbit: -1, seed })).rejects.toThrow(/rateMbit of a shaped link is -1/)
  await expect(shapeProxy({ to, cutAt: 0.5, seed })).rejects.toThrow(/cutAt of a shaped link is 0.5/)
})
