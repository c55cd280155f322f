import { once } from 'node:events'
import net from 'node:net'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { expect, test } from 'vitest'
import { TransportErrors } from './errors.ts'
import { listen } from './listen.ts'

const codeOf = (promise: Promise<unknown>) =>
  promise.then(() => 'resolved').catch((error: { code: string }) => error.code)

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
  await Promise.all([once(silent, 'close'), once(rude, 'close')])
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
