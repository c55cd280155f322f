import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { expect, test } from 'vitest'
import { attachLanes } from './attach-lanes.ts'
import { dialLane } from './dial-lane.ts'
import { TransportErrors } from './errors.ts'
import { headerOf, KeepingSink } from './lane-rig.test.util.ts'
import { listen } from './listen.ts'
import { parentFolder } from './local-socket.ts'

const codeOf = (promise: Promise<unknown>) =>
  promise.then(() => 'resolved').catch((error: { code: string }) => error.code)

/** Also by a reset, as the guard ends a silent one. */
const endOf = (socket: net.Socket) => new Promise(resolve => void socket.once('close', resolve))

test('port 0 is any free port, and a port in use is named', async () => {
  const first = await listen({ port: 0 })
  expect(first.port).toBeGreaterThan(0)
  await expect(listen({ port: first.port })).rejects.toThrow(`127.0.0.1 port ${first.port} is in use`)
  expect(await codeOf(listen({ port: first.port }))).toBe(TransportErrors.PORT_IN_USE.code)
  await first.close()
  const again = await listen({ port: first.port })
  await again.close()
})

test('a socket path is one owner’s, and free again after close', async () => {
  using folder = temporaryFolder('listen')
  const place = { path: path.join(folder.path, 's') }
  const first = await listen(place)
  expect(first.path).toBe(place.path)
  expect(await codeOf(listen(place))).toBe(TransportErrors.PORT_IN_USE.code)
  await first.close()
  await (await listen(place)).close()
})

test('the socket of a killed process is nobody’s, a file of another kind is left alone', async () => {
  using folder = temporaryFolder('listen')
  const place = { path: path.join(folder.path, 's') }
  const script = `require('net').createServer().listen(${JSON.stringify(place.path)}, () => console.log('listening'))`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  expect(await codeOf(listen(place))).toBe(TransportErrors.PORT_IN_USE.code)
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
  expect(fs.existsSync(place.path)).toBe(true)
  const taken = await listen(place)
  expect(await codeOf(listen(place))).toBe(TransportErrors.PORT_IN_USE.code)
  await taken.close()
  fs.writeFileSync(place.path, 'notes')
  expect(await codeOf(listen(place))).toBe(TransportErrors.PORT_IN_USE.code)
  expect(fs.readFileSync(place.path, 'utf8')).toBe('notes')
})

test('an address of another machine is refused with what to do', async () => {
  await expect(listen({ host: '203.0.113.9' })).rejects.toMatchObject({
    code: TransportErrors.LISTEN_FAILED.code,
    todo: expect.stringContaining('127.0.0.1') as string,
  })
})

test('ordinary requests go to the handler, or are told to upgrade', async () => {
  const bare = await listen()
  expect((await fetch(`http://127.0.0.1:${bare.port}/`)).status).toBe(426)
  await bare.close()
  const serving = await listen({ onRequest: (_, response) => response.end('hello') })
  expect(await (await fetch(`http://127.0.0.1:${serving.port}/`)).text()).toBe('hello')
  await serving.close()
})

test('a client that sends no request, or garbage, is dropped', async () => {
  const listener = await listen({ headersTimeoutMs: 50 })
  const silent = net.connect(listener.port)
  silent.on('error', () => undefined)
  silent.resume()
  const rude = net.connect(listener.port)
  rude.on('error', () => undefined)
  rude.resume()
  rude.write('\0\0\0 nonsense\r\n\r\n')
  await Promise.all([endOf(silent), endOf(rude)])
  expect(listener.refused()).toEqual({ slow: 1, garbage: 1 })
  await listener.close()
})

test('close ends idle connections, and closing again is harmless', async () => {
  const listener = await listen()
  const idle = net.connect(listener.port)
  idle.on('error', () => undefined)
  idle.resume()
  await once(idle, 'connect')
  const gone = once(idle, 'close')
  await Promise.all([listener.close(), listener.close()])
  await gone
  await listener.close()
})

test('one listener serves its port and a private Unix socket with the same doors, and leaves nothing behind', async () => {
  const listener = await listen({ local: true })
  const door = attachLanes(listener.server).open({ generation: 1, rank: 0, worldSize: 3, token: 't' })
  const { host, port, localPath = '' } = listener
  expect(fs.statSync(path.dirname(localPath)).mode & 0o777).toBe(0o700)
  const identity = { token: 't', generation: 1, peer: 0 }
  const sinks = [new KeepingSink(), new KeepingSink()] as const
  const frame = headerOf(3, { generation: 1 })
  await dialLane({ ...identity, host, port, rank: 1, sink: sinks[0] })
  await dialLane({ ...identity, path: localPath, rank: 2, sink: sinks[1] })
  for (const peer of [1, 2]) {
    const writer = await door.lane(peer, { timeoutMs: 5_000 })
    await writer.send(frame, Uint8Array.of(1, 2, peer))
  }
  await Promise.all(sinks.map(sink => sink.until(1)))
  expect(sinks.map(sink => sink.frames[0]?.payload[2])).toEqual([1, 2])
  const silent = net.connect(localPath)
  silent.on('error', () => undefined)
  silent.resume()
  await once(silent, 'connect')
  const gone = once(silent, 'close')
  await Promise.all([listener.close(), listener.close()])
  await gone
  expect(fs.existsSync(path.dirname(localPath))).toBe(false)
})

test('a client of the Unix socket that sends no request is dropped in time, as one of the port is', async () => {
  const listener = await listen({ local: true, headersTimeoutMs: 50 })
  const silent = net.connect(listener.localPath ?? '')
  silent.on('error', () => undefined)
  silent.resume()
  await once(silent, 'close')
  await listener.close()
})

test('a folder with too long a name gives way to /tmp', () => {
  expect(parentFolder('/var/tmp')).toBe('/var/tmp')
  expect(parentFolder(`/var/${'x'.repeat(100)}`)).toBe('/tmp')
})
