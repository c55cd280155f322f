import { once } from 'node:events'
import net from 'node:net'
import { within } from '@skein/core'
import { Refusals } from '@skein/transport'
import { expect, test } from 'vitest'
import { standBy } from './stand-by.ts'

const start = (port = 0) => standBy({ host: '127.0.0.1', port, tls: undefined, refusals: new Refusals() })

test('a port in use is named, as where a coordinator leads', async () => {
  const first = await start()
  try {
    await expect(start(first.port)).rejects.toMatchObject({
      code: 'SKEIN_COORDINATOR_PORT_IN_USE',
      what: `port ${first.port} on 127.0.0.1 is in use`,
    })
  } finally {
    await first.close()
  }
})

test('a worker that dials is answered, and cannot hold the port by leaving its end open', async () => {
  const waiting = await start()
  waiting.leader = 'http://10.0.0.7:1'
  const peer = net.connect({ host: '127.0.0.1', port: waiting.port, allowHalfOpen: true })
  try {
    peer.write('GET /control HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
    let answer = ''
    peer.on('data', data => {
      answer += String(data)
    })
    await once(peer, 'end')
    expect(answer).toMatch(/^HTTP\/1.1 421 [^]*x-skein-leader: http:\/\/10.0.0.7:1\r\n/)
    await within(waiting.close(), { what: 'the port to be left', timeoutMs: 2_000 })
  } finally {
    peer.destroy()
  }
})
