import { deferred } from '@skein/core'
import { attachControl, type ControlServer, listen } from '@skein/transport'
import type { WorkerMessage } from '@skein/wire'
import { expect, onTestFinished, test } from 'vitest'
import { CommSession } from './comm-session.ts'
import type { CommStart, ToDevice } from './thread-messages.ts'

const token = 'join-token'
type Join = Extract<WorkerMessage, { type: 'join' }>

/** A coordinator that hears who joins, and nothing else. */
async function coordinator(): Promise<{
  url: string
  control: ControlServer
  joined: Promise<Join>
  close(): Promise<void>
}> {
  const listener = await listen()
  const joined = deferred<Join>()
  const control = attachControl(listener.server, {
    token,
    onLink: link =>
      link.onMessage(message => {
        if (message.type === 'join') joined.resolve(message)
      }),
  })
  const close = async () => {
    await control.close()
    await listener.close()
  }
  onTestFinished(close)
  return { url: `http://127.0.0.1:${listener.port}`, control, joined: joined.promise, close }
}

function startOf(coordinatorUrls: readonly string[]): CommStart {
  return {
    coordinatorUrls,
    token,
    workerId: 'w0',
    lastOver: new Int32Array(new SharedArrayBuffer(4)),
    numPieces: new Int32Array(new SharedArrayBuffer(4)),
    laneHost: '127.0.0.1',
    lanePort: undefined,
    listenHost: '127.0.0.1',
    listenPort: 0,
    laneKind: 'raw',
    localLanes: false,
    tls: undefined,
    device: { backend: 'cpu', version: '0', threads: 1 },
    heartbeat: { intervalMs: 1_000, deadAfterMs: 5_000 },
    timeouts: { joinMs: 5_000, reconnectMs: 5_000, connectMs: 5_000, peerMs: 5_000 },
    log: { file: undefined, level: 'silent' },
  }
}

test('a worker whose coordinator lost the lead and closed the link in order joins the next one as who it was', async () => {
  const [first, second] = await Promise.all([coordinator(), coordinator()])
  const closed = deferred<void>()
  const told: ToDevice[] = []
  const session = new CommSession(startOf([first.url, second.url]), message => {
    told.push(message)
    if (message.type === 'closed') closed.resolve()
  })
  await session.open()
  const before = await first.joined
  await first.control.close('another coordinator leads')
  const after = await second.joined
  expect(after).toEqual(before)
  session.receive({ type: 'close' })
  await closed.promise
  expect(told.map(({ type }) => type)).toEqual(['closed'])
})
