import { deferred } from '@skein/core'
import { attachControl, type ControlServer, listen } from '@skein/transport'
import type { CoordinatorMessage, WorkerMessage } from '@skein/wire'
import { expect, onTestFinished, test } from 'vitest'
import { CommSession } from './comm-session.ts'
import type { CommStart, ToDevice } from './thread-messages.ts'

const token = 'join-token'
type Join = Extract<WorkerMessage, { type: 'join' }>

type Welcome = Extract<CoordinatorMessage, { type: 'welcome' }>

/** A coordinator that hears who joins, welcomes whoever does where it has a run, and says nothing else. */
async function coordinator(welcome?: Welcome): Promise<{
  url: string
  control: ControlServer
  joined: Promise<Join>
  /** Kinds of what it was told, until the first link ended. */
  told: Promise<readonly string[]>
  /** Settles when it has been told this. */
  heard(kind: string): Promise<void>
  close(): Promise<void>
}> {
  const listener = await listen()
  const joined = deferred<Join>()
  const told = deferred<readonly string[]>()
  const hearing = new Map<string, ReturnType<typeof deferred<void>>>()
  const hearingOf = (kind: string) => {
    const one = hearing.get(kind) ?? deferred<void>()
    hearing.set(kind, one)
    return one
  }
  const control = attachControl(listener.server, {
    token,
    onLink(link) {
      const kinds: string[] = []
      link.onMessage(message => {
        kinds.push(message.type)
        hearingOf(message.type).resolve()
        if (message.type !== 'join') return
        joined.resolve(message)
        if (welcome !== undefined) void link.send(welcome)
      })
      void link.closed.then(() => told.resolve(kinds))
    },
  })
  const close = async () => {
    await control.close()
    await listener.close()
  }
  onTestFinished(close)
  return {
    url: `http://127.0.0.1:${listener.port}`,
    control,
    joined: joined.promise,
    told: told.promise,
    heard: kind => hearingOf(kind).promise,
    close,
  }
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

test('what a worker has taken to disk is said again to the coordinator that it comes back to', async () => {
  const welcome: Welcome = { type: 'welcome', runId: 'r', runDir: '/r', job: { steps: 1000 }, maxWorkers: 2 }
  const [first, second] = await Promise.all([coordinator(welcome), coordinator(welcome)])
  const welcomed = deferred<void>()
  const closed = deferred<void>()
  const session = new CommSession(startOf([first.url, second.url]), message => {
    if (message.type === 'told' && message.message.type === 'welcome') welcomed.resolve()
    if (message.type === 'closed') closed.resolve()
  })
  await session.open()
  await welcomed.promise
  session.receive({ type: 'loaded', dataFingerprint: 'd', numParams: 8 })
  await first.control.close('another coordinator leads')
  // While there is no link.
  session.receive({ type: 'tell', message: { type: 'checkpointed', generation: 1, step: 5, path: '/c/5' } })
  await second.heard('checkpointed')
  session.receive({ type: 'close' })
  await closed.promise
  expect((await second.told).slice(0, 3)).toEqual(['join', 'loaded', 'checkpointed'])
})

test.each([
  ['SKEIN_WORKER_OTHER_RUN', { runId: 'other' }],
  ['SKEIN_WORKER_OTHER_JOB', { job: { steps: 2000 } }],
])(
  'a worker that comes back to where another run is ends with %s, and that run hears nothing of it',
  async (code, changed) => {
    const welcome: Welcome = { type: 'welcome', runId: 'r', runDir: '/r', job: { steps: 1000 }, maxWorkers: 2 }
    const [first, second] = await Promise.all([coordinator(welcome), coordinator({ ...welcome, ...changed })])
    const welcomed = deferred<void>()
    const failed = deferred<string>()
    const closed = deferred<void>()
    const session = new CommSession(startOf([first.url, second.url]), message => {
      if (message.type === 'told' && message.message.type === 'welcome') welcomed.resolve()
      if (message.type === 'failed') failed.resolve(message.error.code)
      if (message.type === 'closed') closed.resolve()
    })
    await session.open()
    await welcomed.promise
    session.receive({ type: 'loaded', dataFingerprint: 'd', numParams: 8 })
    await first.control.close('it was ended')
    expect(await failed.promise).toBe(code)
    // As the device thread does, whose last word it is.
    session.receive({
      type: 'tell',
      message: { type: 'failed', error: { code, what: 'w', todo: 't', retry: 'never', details: {} } },
    })
    expect(await second.told).toEqual(['join'])
    session.receive({ type: 'close' })
    await closed.promise
  },
)
