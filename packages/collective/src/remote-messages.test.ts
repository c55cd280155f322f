import { setImmediate as turn } from 'node:timers/promises'
import { deferred, SkeinError } from '@skein/core'
import { describe, expect, it } from 'vitest'
import type { Collectives, ReceiveOptions } from './collectives.ts'
import { CollectiveErrors } from './errors.ts'
import { type GroupAnswer, type GroupRequest, GroupServer, RemoteGroup } from './remote-group.ts'

const region = { byteOffset: 0, elems: 4, dtype: 'float32' } as const

/** A group whose messages end when the test says so, and the two ends of the way to it. */
function rig() {
  const handles: {
    readonly call: string
    readonly peer: number
    readonly tag: number
    /** Of a receive: its last frame begins to come in. */
    readonly arrive: (() => void) | undefined
    readonly end: ReturnType<typeof deferred<never>>
  }[] = []
  const pass = (call: string) => (_region: unknown, peer: number, tag: number, options?: ReceiveOptions) => {
    const end = deferred<never>()
    handles.push({ call, peer, tag, arrive: options?.onArriving, end })
    return end.promise
  }
  const group = { send: pass('send'), recv: pass('recv') } as unknown as Collectives
  const requests: GroupRequest[] = []
  const answers: GroupAnswer[] = []
  const remote = new RemoteGroup({ rank: 0, worldSize: 2 }, request => {
    requests.push(request)
    void server.receive(request)
  })
  const server = new GroupServer(group, answer => {
    answers.push(answer)
    remote.receive(answer)
  })
  /** The other end looks in a later turn: of this thread's own loop, in these tests. */
  const served = async (numMessages: number) => {
    while (handles.length < numMessages) await turn()
  }
  return { remote, server, handles, requests, answers, served }
}

describe('messages of a group in another thread', () => {
  it('are asked for together, and end without a word to the thread that asked', async () => {
    const { remote, handles, requests, answers, served } = rig()
    const { messages } = remote
    const receive = messages.recv(region, 1, 7)
    const send = messages.send(region, 1, 8)
    expect(handles).toEqual([])
    messages.flush()
    messages.flush()
    await served(2)
    expect(requests.map(({ type }) => type)).toEqual(['messages'])
    expect(handles.map(({ call, peer, tag }) => [call, peer, tag])).toEqual([
      ['recv', 1, 7],
      ['send', 1, 8],
    ])
    expect([receive.isDone, send.isDone]).toEqual([false, false])
    handles[1]?.end.resolve(undefined as never)
    await turn()
    await send.done()
    expect([receive.isDone, send.isDone]).toEqual([false, true])
    handles[0]?.end.resolve(undefined as never)
    await turn()
    await receive.done()
    expect(answers).toEqual([])
  })

  it('go over at once where one is waited for, and tell for whom', async () => {
    const { remote, server, handles, served } = rig()
    const receive = remote.messages.recv(region, 1, 7)
    const done = receive.done()
    await served(1)
    expect(server.awaitedPeer).toBe(1)
    handles[0]?.end.resolve(undefined as never)
    await done
    expect(receive.isDone).toBe(true)
    expect(server.awaitedPeer).toBeUndefined()
  })

  it('end as they do whether or not they were seen to arrive', async () => {
    const { remote, handles, served } = rig()
    const { messages } = remote
    const receives = [messages.recv(region, 1, 7), messages.recv(region, 1, 8)]
    messages.flush()
    await served(2)
    for (const { arrive } of handles) arrive?.()
    expect(receives.map(one => one.isDone)).toEqual([false, false])
    handles[0]?.end.resolve(undefined as never)
    await turn()
    await receives[0]?.done()
    const error = new SkeinError(CollectiveErrors.CLOSED, { what: 'it is over', todo: 'nothing' })
    handles[1]?.end.reject(error)
    await expect(receives[1]?.done()).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_CLOSED' })
  })

  it('reject with the error of the one that failed, and all others with it', async () => {
    const { remote, handles, served } = rig()
    const { messages } = remote
    const [first, second] = [messages.recv(region, 1, 7), messages.send(region, 1, 8)]
    messages.flush()
    await served(2)
    const error = new SkeinError(CollectiveErrors.CLOSED, { what: 'it is over', todo: 'nothing' })
    for (const { end } of handles) end.reject(error)
    await expect(first.done()).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_CLOSED' })
    await expect(second.done()).rejects.toMatchObject({ code: 'SKEIN_COLLECTIVE_CLOSED' })
  })

  it('fail where the group ends before it has heard of them', async () => {
    // As where the generation is over when the request comes: nobody answers it.
    const remote = new RemoteGroup({ rank: 0, worldSize: 2 }, () => undefined)
    const early = remote.messages.recv(region, 1, 7)
    const done = early.done()
    const error = new SkeinError(CollectiveErrors.CLOSED, { what: 'it is over', todo: 'nothing' })
    setTimeout(() => remote.fail(error), 10)
    await expect(done).rejects.toBe(error)
    expect(early.isDone).toBe(false)
  })

  it('fail where they are asked for after the end', async () => {
    const { remote, server } = rig()
    const { messages } = remote
    server.close()
    const late = messages.send(region, 1, 7)
    const error = new SkeinError(CollectiveErrors.CLOSED, { what: 'it is over', todo: 'nothing' })
    remote.fail(error)
    await expect(late.done()).rejects.toBe(error)
  })

  it('use their rows again, and refuse more under way than there are rows', async () => {
    const { remote, handles, served } = rig()
    const { messages } = remote
    for (let i = 0; i < 10_000; i++) {
      const one = messages.send(region, 1, i)
      messages.flush()
      await served(1)
      expect(handles[0]).toMatchObject({ call: 'send', peer: 1, tag: i })
      handles.pop()?.end.resolve(undefined as never)
      await turn()
      await one.done()
    }
    for (let i = 0; i < 4096; i++) messages.send(region, 1, i)
    expect(() => messages.send(region, 1, 5000)).toThrow(expect.objectContaining({ code: 'SKEIN_COLLECTIVE_BUSY' }))
  })
})
