import { type SharedState, SlotSteps, type Standing } from '@skein/catchup'
import { createSharedMemory, SharedArena, type StateSlot } from '@skein/simd'
import { createLogger } from '@skein/telemetry'
import { expect, test } from 'vitest'
import { CatchUp } from './catch-up.ts'

const numElems = 8

function stateAfter(step: number): { readonly state: SharedState; readonly steps: SlotSteps } {
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
  const steps = new SlotSteps(arena.memory, state.steps)
  steps.set(0, step)
  steps.set(1, undefined)
  return { state, steps }
}

test('one that waits keeps the state it has when those it goes after are all gone', async () => {
  const { state, steps } = stateAfter(5)
  const heard = Promise.withResolvers<Standing | undefined>()
  const catchUp = new CatchUp({
    workerId: 'w2',
    hostId: undefined,
    tls: undefined,
    logger: createLogger({ level: 'silent', bindings: {} }),
    isBusy: () => false,
    onRecord: () => undefined,
    onHeld: heard.resolve,
  })
  catchUp.share(state, 0)
  catchUp.idle()
  // Nobody listens there.
  const gone = { workerId: 'w1', rank: 0, share: 1, lane: { host: '127.0.0.1', port: 1 } }
  catchUp.begin({ generation: 1, parts: 1, part: 0, members: [gone], laneToken: 't' })
  expect(await heard.promise).toBeUndefined()
  expect(catchUp.isWhole(5)).toBe(true)
  expect(catchUp.isWhole(4)).toBe(false)
  // So it is while another state is written there.
  steps.set(0, undefined)
  expect(catchUp.isWhole(5)).toBe(false)
})
