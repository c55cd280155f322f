import { once } from 'node:events'
import http from 'node:http'
import { type SharedState, SlotSteps, type Standing, StateServer } from '@skein/catchup'
import type { SkeinError } from '@skein/core'
import { createSharedMemory, createSimd, formatHash, SharedArena, type StateSlot } from '@skein/simd'
import { createLogger } from '@skein/telemetry'
import { freePort } from '@skein/testkit'
import { guardOf, wantUpgrade } from '@skein/transport'
import { expect, onTestFinished, test } from 'vitest'
import { CatchUp } from './catch-up.ts'
import { silentMs } from './source-silence.ts'

function stateAfter(step: number, numElems = 8) {
  const arena = new SharedArena(createSharedMemory(7 * (numElems * 4 + 64) + 128))
  const floats = (name: string) => arena.alloc(name, numElems * 4)
  const slot = (name: string): StateSlot => ({
    params: floats(`params ${name}`),
    expAvg: floats(`m ${name}`),
    expAvgSq: floats(`v ${name}`),
  })
  const state: SharedState = {
    memory: arena.memory,
    slots: [slot('a'), slot('b')],
    steps: arena.alloc('steps', 8),
    gradients: floats('gradients'),
    totalElems: numElems,
    slabs: [{ offset: 0, elems: numElems, decay: false }],
  }
  const { params } = state.slots[0]
  arena.float32(params).fill(step)
  const steps = new SlotSteps(arena.memory, state.steps)
  steps.set(0, step)
  steps.set(1, undefined)
  const standing = { step, digest: formatHash(createSimd(arena.memory).hash(params.byteOffset, params.bytes)) }
  return { state, steps, standing }
}

/** One that waits, holds the state after step 5, and goes after a member on a port; time passes by `clock.ms` alone. */
function waiting(port: number, numElems?: number) {
  const { state, steps } = stateAfter(5, numElems)
  const clock = { ms: 0, now: () => clock.ms }
  const held: (Standing | undefined)[] = []
  const failures: { readonly generation: number; readonly error: SkeinError }[] = []
  const first = Promise.withResolvers<void>()
  const firstFailure = Promise.withResolvers<void>()
  const catchUp = new CatchUp({
    workerId: 'w2',
    hostId: undefined,
    tls: undefined,
    logger: createLogger({ level: 'silent', bindings: {} }),
    clock,
    isBusy: () => false,
    onRecord: () => undefined,
    onHeld: (_, standing) => {
      held.push(standing)
      first.resolve()
    },
    onFailed: (generation, error) => {
      failures.push({ generation, error })
      firstFailure.resolve()
    },
  })
  onTestFinished(() => catchUp.stop())
  catchUp.share(state, 0)
  catchUp.idle()
  const member = { workerId: 'w1', rank: 0, share: 1, lane: { host: '127.0.0.1', port } }
  catchUp.begin({ generation: 1, parts: 1, part: 0, members: [member], laneToken: 't', step: 0 })
  return { catchUp, clock, held, failures, steps, first: first.promise, failed: firstFailure.promise }
}

/** A member that gives the state after step 7. Returns how often it is asked. */
async function startMember(port: number, digest?: string): Promise<() => number> {
  const { state, standing } = stateAfter(7)
  let numAsked = 0
  const server = new StateServer({ onFollower: () => numAsked++ })
  server.serve(state)
  server.open(1, 't')
  server.committed({ ...standing, ...(digest === undefined ? {} : { digest }) })
  await answerOn(port, server)
  return () => numAsked
}

async function answerOn(port: number, server: StateServer): Promise<void> {
  const listener = http.createServer()
  listener.on(
    'request',
    server.listener(() => guardOf(listener), wantUpgrade),
  )
  listener.listen(port, '127.0.0.1')
  onTestFinished(() => {
    listener.close()
    listener.closeAllConnections()
  })
  await once(listener, 'listening')
}

test('one that waits keeps the state it has while those it goes after are silent, and says so after 10 s, once', async () => {
  const { catchUp, clock, held, failures, steps } = waiting(await freePort())
  clock.ms = silentMs - 1
  catchUp.sweep()
  expect(failures).toEqual([])
  for (clock.ms = silentMs; clock.ms < 5 * silentMs; clock.ms += 1_000) catchUp.sweep()
  expect(failures).toMatchObject([{ generation: 1, error: { code: 'SKEIN_CATCHUP_SOURCES_LOST' } }])
  expect(failures[0]?.error.what).toContain('no state has come from worker w1 for 10 s')
  expect(held).toEqual([])
  expect(catchUp.isWhole(5)).toBe(true)
  expect(catchUp.isWhole(4)).toBe(false)
  // So it is while another state is written there.
  steps.set(0, undefined)
  expect(catchUp.isWhole(5)).toBe(false)
})

test('it asks again, longer than any one request is tried, and gets what there is as soon as somebody answers', async () => {
  const port = await freePort()
  const { catchUp, clock, held, failures, first } = waiting(port)
  // Five attempts take 1.5 s: what follows comes after the first round has failed.
  await new Promise(resolve => setTimeout(resolve, 2_000))
  clock.ms = silentMs
  catchUp.sweep()
  expect(failures).toHaveLength(1)
  expect(failures[0]?.error.what).toContain('ECONNREFUSED')
  await startMember(port)
  await first
  expect(held[0]).toMatchObject({ step: 7 })
  // Its first answer has ended that silence; another one would be told of, too.
  catchUp.sweep()
  clock.ms += silentMs - 1
  catchUp.sweep()
  expect(failures).toHaveLength(1)
})

test("a state that is not the log's is told of at once, and not asked for again in this generation", async () => {
  const port = await freePort()
  const asked = await startMember(port, '0123456789abcdef')
  const { catchUp, clock, held, failures, steps, failed } = waiting(port)
  await failed
  const before = asked()
  expect(failures).toMatchObject([{ generation: 1, error: { code: 'SKEIN_CATCHUP_STATE_DIFFERS' } }])
  // No longer than it takes to ask again where nobody answers.
  await new Promise(resolve => setTimeout(resolve, 700))
  clock.ms = 10 * silentMs
  catchUp.sweep()
  expect(asked()).toBe(before)
  expect(failures).toHaveLength(1)
  expect(held).toEqual([])
  expect(steps.slotOf(7)).toBeUndefined()
})

test('of a model that is cut it asks those of its part only, and not before there is a place for that part', async () => {
  const [port, otherPort] = [await freePort(), await freePort()]
  const { catchUp, held, first } = waiting(await freePort())
  const asked = await startMember(port)
  const askedOther = await startMember(otherPort)
  const members = [otherPort, port].map((port, rank) => {
    return { workerId: `w${rank}`, rank, share: 1, lane: { host: '127.0.0.1', port } }
  })
  catchUp.begin({ generation: 1, parts: 2, part: 1, members, laneToken: 't', step: 0 })
  await new Promise(resolve => setTimeout(resolve, 200))
  expect([asked(), askedOther()], 'its state is of part 0').toEqual([0, 0])
  catchUp.share(stateAfter(3).state, 1)
  expect(catchUp.part).toBe(1)
  await first
  expect(held[0]).toMatchObject({ step: 7 })
  expect(asked()).toBeGreaterThan(0)
  expect(askedOther()).toBe(0)
})

test('one for whom the others are too fast says so, and not that they are silent when it asks no more', async () => {
  const port = await freePort()
  const { state, steps, standing } = stateAfter(7)
  let step = standing.step
  const server = new StateServer({
    onFollower() {
      // Whatever is asked for, the next step has just been made.
      steps.set(0, ++step)
      server.committed({ ...standing, step })
    },
  })
  server.serve(state)
  server.open(1, 't')
  server.committed(standing)
  await answerOn(port, server)
  const { catchUp, clock, held, failures, first } = waiting(port)
  await first
  expect(held).toEqual([undefined])
  for (clock.ms = 1_000; clock.ms < 3 * silentMs; clock.ms += 1_000) catchUp.sweep()
  expect(failures).toEqual([])
})

test('updates of another part are recorded in memory of its size, not in what the part before had', async () => {
  const port = await freePort()
  const recorded: (number | undefined)[] = []
  let news = Promise.withResolvers<void>()
  const member = new CatchUp({
    workerId: 'w1',
    hostId: undefined,
    tls: undefined,
    logger: createLogger({ level: 'silent', bindings: {} }),
    isBusy: () => false,
    onRecord(history) {
      recorded.push(history?.totalElems)
      news.resolve()
    },
    onHeld: () => undefined,
    onFailed: () => undefined,
  })
  member.server.open(1, 't')
  await answerOn(port, member.server)
  const [small, large] = [stateAfter(7), stateAfter(7, 24)]
  member.share(small.state, 0)
  member.server.committed(small.standing)
  waiting(port)
  await news.promise
  news = Promise.withResolvers()
  member.share(large.state, 1)
  // The device thread hears of it before it makes a step.
  expect(recorded).toEqual([8, undefined])
  member.server.committed(large.standing)
  news = Promise.withResolvers()
  waiting(port, 24)
  await news.promise
  expect(recorded).toEqual([8, undefined, 24])
})
