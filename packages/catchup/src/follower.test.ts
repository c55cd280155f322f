import { formatHash, createSharedMemory, createSimd, SharedArena, type Simd, type StateSlot } from '@skein/simd'
import { fuzzRuns, useTestSeed } from '@skein/testkit'
import { seededRandom, SkeinError } from '@skein/core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CatchupErrors } from './errors.ts'
import { Follower } from './follower.ts'
import { type SharedState, SlotSteps } from './shared-state.ts'
import type { ChunkAnswer, Standing, StateSource } from './source.ts'
import { adamwSlabs } from '@skein/simd'
import { allocateHistory, UpdateHistory } from './update-history.ts'
import { chunksOf, type Chunk } from './chunks.ts'

const seed = useTestSeed()
const float32Bytes = 4
const chunkElems = 16

interface Place {
  readonly state: SharedState
  readonly simd: Simd
  readonly steps: SlotSteps
}

function place(totalElems: number): Place {
  const bytes = totalElems * float32Bytes
  const arena = new SharedArena(createSharedMemory(7 * (bytes + 64) + 128))
  const slot = (name: string): StateSlot => ({
    params: arena.alloc(`params ${name}`, bytes),
    expAvg: arena.alloc(`m ${name}`, bytes),
    expAvgSq: arena.alloc(`v ${name}`, bytes),
  })
  const decayed = Math.floor(totalElems / 3)
  const state: SharedState = {
    memory: arena.memory,
    slots: [slot('a'), slot('b')],
    steps: arena.alloc('steps', 8),
    gradients: arena.alloc('gradients', bytes),
    totalElems,
    slabs: [
      { offset: 0, elems: decayed, decay: true },
      { offset: decayed, elems: totalElems - decayed, decay: false },
    ],
  }
  const steps = new SlotSteps(arena.memory, state.steps)
  steps.set(0, undefined)
  steps.set(1, undefined)
  return { state, simd: createSimd(arena.memory), steps }
}

/** A run that trains on: one place, whose state any number of sources give. */
class Training {
  readonly place: Place
  readonly history: UpdateHistory
  readonly #random
  #slot: 0 | 1 = 0
  step = 0

  constructor(totalElems: number, randomSeed: number, depth: number) {
    this.place = place(totalElems)
    this.history = new UpdateHistory(allocateHistory(totalElems, depth))
    this.#random = seededRandom(randomSeed)
    this.#fill(this.place.state.slots[0].params)
    this.place.steps.set(0, 0)
  }

  get digest(): string {
    return digestOf(this.place, this.#slot)
  }

  train(): void {
    const { state, simd, steps } = this.place
    const other = this.#slot === 0 ? 1 : 0
    this.#fill(state.gradients)
    this.step++
    const options = {
      lr: 1e-2,
      beta1: 0.9,
      beta2: 0.99,
      eps: 1e-8,
      weightDecay: 0.1,
      gradScale: 1 / 7,
      step: this.step,
    }
    this.history.record(options, view(this.place, state.gradients))
    const all = { offset: 0, elems: state.totalElems }
    steps.set(other, undefined)
    adamwSlabs(
      simd,
      state.slabs,
      all,
      { from: state.slots[this.#slot], to: state.slots[other], gradients: state.gradients },
      options,
    )
    this.#slot = other
    steps.set(other, this.step)
  }

  whole(chunk: Chunk): Float32Array<ArrayBuffer> {
    const { params, expAvg, expAvgSq } = this.place.state.slots[this.#slot]
    const values = new Float32Array(3 * chunk.elems)
    for (const [i, region] of [params, expAvg, expAvgSq].entries()) {
      values.set(view(this.place, region).subarray(chunk.offset, chunk.offset + chunk.elems), i * chunk.elems)
    }
    return values
  }

  #fill(region: { readonly byteOffset: number; readonly bytes: number }): void {
    const values = view(this.place, region)
    for (let i = 0; i < values.length; i++) values[i] = this.#random.nextFloat() - 0.5
  }
}

const view = ({ state }: Place, { byteOffset, bytes }: { readonly byteOffset: number; readonly bytes: number }) =>
  new Float32Array(state.memory.buffer, byteOffset, bytes / float32Bytes)

function digestOf({ state, simd }: Place, slot: 0 | 1): string {
  const { params } = state.slots[slot]
  return formatHash(simd.hash(params.byteOffset, params.bytes))
}

const broken = () =>
  new SkeinError(CatchupErrors.REFUSED, { what: 'it is gone', why: 'the test said so', todo: 'nothing' })

interface Behaviour {
  /** Requests that it answers before it dies. */
  readonly lives: number
  /** The others make a step after so many of its answers. */
  readonly stepEvery: number
}

class TestSource implements StateSource {
  readonly name: string
  readonly #training: Training
  readonly #behaviour: Behaviour
  answers = 0
  updates = 0

  constructor(name: string, training: Training, behaviour: Behaviour) {
    this.name = name
    this.#training = training
    this.#behaviour = behaviour
  }

  async standing(have: number | undefined) {
    await this.#turn()
    if (have === this.#training.step) this.#training.train()
    return { step: this.#training.step, digest: this.#training.digest }
  }

  async chunk(chunk: Chunk, have: number | undefined): Promise<ChunkAnswer> {
    await this.#turn()
    if (this.answers % this.#behaviour.stepEvery === 0) this.#training.train()
    const { step } = this.#training
    if (have === step) throw broken()
    const update = have === undefined || step - have > 3 ? undefined : this.#training.history.read(have + 1, chunk)
    if (update === undefined) return { kind: 'state', step, values: this.#training.whole(chunk) }
    this.updates++
    return { kind: 'update', options: update.options, values: update.gradients }
  }

  async #turn(): Promise<void> {
    await Promise.resolve()
    if (++this.answers > this.#behaviour.lives) throw broken()
  }
}

const behaviours = fc.array(
  fc.record({ lives: fc.constantFrom(0, 3, 20, 1e9), stepEvery: fc.integer({ min: 40, max: 400 }) }),
  { minLength: 1, maxLength: 4 },
)

describe('a follower', () => {
  it('puts together the bits of the others, whoever dies, while they train on', async () => {
    const property = fc.asyncProperty(
      behaviours,
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 4 }),
      fc.nat(),
      async (given, totalElems, depth, trainingSeed) => {
        const training = new Training(totalElems, trainingSeed, depth)
        const mine = place(totalElems)
        // One lives for ever.
        const living = { lives: 1e9, stepEvery: 100 }
        const sources = [...given, living].map((one, i) => new TestSource(`w${i}`, training, one))
        const ending = new AbortController()
        const held: number[] = []
        const follower = new Follower({ state: mine.state, simd: mine.simd, chunkElems, retryMs: 0 })
        const following = follower.follow(sources, 0, ending.signal, ({ step, digest }) => {
          held.push(step)
          const slot = mine.steps.slotOf(step)
          expect(slot).toBeDefined()
          expect(digestOf(mine, slot ?? 0)).toBe(digest)
          if (held.length === 4) ending.abort()
        })
        await expect(following).rejects.toMatchObject({ code: 'SKEIN_ABORTED' })
        expect(held).toEqual([...held].sort((a, b) => a - b))
        // The moments too: the training stands still, and what is here is brought to its step.
        const standing = new TestSource('w', training, { lives: 1e9, stepEvery: 1e9 })
        await follower.reach(training.step, [standing], new AbortController().signal)
        const slot = mine.steps.slotOf(training.step)
        expect(slot).toBeDefined()
        for (const chunk of chunksOf(totalElems, chunkElems)) {
          const { params, expAvg, expAvgSq } = mine.state.slots[slot ?? 0]
          const parts = [params, expAvg, expAvgSq].map(region =>
            view(mine, region).slice(chunk.offset, chunk.offset + chunk.elems),
          )
          expect(parts.flatMap(part => [...part])).toEqual([...training.whole(chunk)])
        }
      },
    )
    await fc.assert(property, { seed, numRuns: fuzzRuns(60) })
  })

  it('fetches updates, not the state, once it has it', async () => {
    const training = new Training(200, 1, 3)
    const mine = place(200)
    const source = new TestSource('w0', training, { lives: 1e9, stepEvery: 1e9 })
    const ending = new AbortController()
    let held = 0
    const following = new Follower({ state: mine.state, simd: mine.simd, chunkElems }).follow(
      [source],
      0,
      ending.signal,
      () => {
        if (++held === 6) ending.abort()
      },
    )
    await expect(following).rejects.toMatchObject({ code: 'SKEIN_ABORTED' })
    const numChunks = chunksOf(200, chunkElems).length
    // Five steps after the first.
    expect(source.updates).toBe(5 * numChunks)
  })

  it('keeps what it has when its sources are gone, and fetches only the rest from others', async () => {
    const training = new Training(200, 4, 3)
    const mine = place(200)
    const numChunks = chunksOf(200, chunkElems).length
    const follower = new Follower({ state: mine.state, simd: mine.simd, chunkElems, retryMs: 0 })
    // Its first answer says where it stands.
    const dying = new TestSource('w0', training, { lives: 1 + 5, stepEvery: 1e9 })
    await expect(follower.follow([dying], 0, new AbortController().signal, () => undefined)).rejects.toMatchObject({
      code: 'SKEIN_CATCHUP_SOURCES_LOST',
    })
    expect(follower.progress).toEqual({ chunks: numChunks, chunksHeld: 5 })
    const other = new TestSource('w1', training, { lives: 1e9, stepEvery: 1e9 })
    const ending = new AbortController()
    await expect(follower.follow([other], 0, ending.signal, () => ending.abort())).rejects.toMatchObject({
      code: 'SKEIN_ABORTED',
    })
    expect(other.answers).toBe(1 + numChunks - 5)
  })

  it('keeps the state it has told of while a source has not heard of that commit yet, and gets the next one from there', async () => {
    const training = new Training(200, 6, 3)
    training.train()
    const mine = place(200)
    const numChunks = chunksOf(200, chunkElems).length
    const ahead = new TestSource('w0', training, { lives: 1 + numChunks, stepEvery: 1e9 })
    let numStale = 0
    const behind: StateSource = {
      name: 'w1',
      async standing() {
        // What it has told of is here all the time.
        expect(mine.steps.slotOf(1)).toBeDefined()
        if (++numStale <= 20) return { step: 0, digest: 'of step 0' }
        training.train()
        return { step: training.step, digest: training.digest }
      },
      async chunk(chunk, have) {
        if (numStale === 0) throw broken()
        return new TestSource('w1', training, { lives: 1e9, stepEvery: 1e9 }).chunk(chunk, have)
      },
    }
    const ending = new AbortController()
    const held: number[] = []
    const follower = new Follower({ state: mine.state, simd: mine.simd, chunkElems, retryMs: 0 })
    const following = follower.follow([ahead, behind], 0, ending.signal, ({ step }) => {
      if (held.push(step) === 2) ending.abort()
    })
    await expect(following).rejects.toMatchObject({ code: 'SKEIN_ABORTED' })
    // More than the passes after which it takes the others to be too fast.
    expect(numStale).toBe(21)
    expect(held).toEqual([1, 2])
  })

  it('begins anew where the run has gone back behind what it holds', async () => {
    const gone = new Training(200, 7, 3)
    for (let i = 0; i < 5; i++) gone.train()
    const mine = place(200)
    const follower = new Follower({ state: mine.state, simd: mine.simd, chunkElems, retryMs: 0 })
    const first = new AbortController()
    const before = new TestSource('w0', gone, { lives: 1e9, stepEvery: 1e9 })
    await expect(follower.follow([before], 0, first.signal, () => first.abort())).rejects.toMatchObject({
      code: 'SKEIN_ABORTED',
    })
    const back = new Training(200, 8, 3)
    back.train()
    const second = new AbortController()
    const after = new TestSource('w0', back, { lives: 1e9, stepEvery: 1e9 })
    const held: Standing[] = []
    const following = follower.follow([after], 0, second.signal, standing => {
      held.push(standing)
      second.abort()
    })
    await expect(following).rejects.toMatchObject({ code: 'SKEIN_ABORTED' })
    expect(held).toEqual([{ step: 1, digest: back.digest }])
  })

  it('a worker that holds the newest commit already fetches nothing', async () => {
    const training = new Training(200, 2, 3)
    const source = new TestSource('w0', training, { lives: 1e9, stepEvery: 1e9 })
    const ending = new AbortController()
    // Its own state, as it was when it was put out.
    const follower = new Follower({ state: training.place.state, simd: training.place.simd, chunkElems })
    const following = follower.follow([source], 0, ending.signal, () => ending.abort())
    await expect(following).rejects.toMatchObject({ code: 'SKEIN_ABORTED' })
    expect(source.answers).toBe(1)
  })

  it('a worker that was put out before its last step was committed keeps that step while it stands at the one before', async () => {
    const training = new Training(200, 9, 3)
    for (let i = 0; i < 2; i++) training.train()
    const { steps } = training.place
    const standingAt = (step: number): Standing => ({ step, digest: digestOf(training.place, steps.slotOf(step) ?? 0) })
    let now = standingAt(1)
    const source: StateSource = {
      name: 'w0',
      standing: async () => now,
      chunk: async () => Promise.reject(broken()),
    }
    const ending = new AbortController()
    const held: number[] = []
    const follower = new Follower({ state: training.place.state, simd: training.place.simd, chunkElems, retryMs: 0 })
    const following = follower.follow([source], 0, ending.signal, ({ step }) => {
      // The coordinator counts on what was voted for until it hears otherwise.
      expect([steps.slotOf(1), steps.slotOf(2)]).not.toContain(undefined)
      if (held.push(step) === 2) ending.abort()
      now = standingAt(2)
    })
    await expect(following).rejects.toMatchObject({ code: 'SKEIN_ABORTED' })
    expect(held).toEqual([1, 2])
  })

  it('waits for a source that has not heard of the commit it was told of, and writes nothing meanwhile', async () => {
    const training = new Training(200, 10, 3)
    for (let i = 0; i < 2; i++) training.train()
    const { steps } = training.place
    let numStale = 0
    const source: StateSource = {
      name: 'w0',
      standing: async () =>
        ++numStale <= 5
          ? { step: 0, digest: 'of step 0' }
          : { step: 2, digest: digestOf(training.place, steps.slotOf(2) ?? 0) },
      chunk: async () => Promise.reject(broken()),
    }
    const ending = new AbortController()
    const held: number[] = []
    const follower = new Follower({ state: training.place.state, simd: training.place.simd, chunkElems, retryMs: 0 })
    const following = follower.follow([source], 2, ending.signal, ({ step }) => {
      held.push(step)
      ending.abort()
    })
    await expect(following).rejects.toMatchObject({ code: 'SKEIN_ABORTED' })
    expect([steps.slotOf(1), steps.slotOf(2)]).not.toContain(undefined)
    expect([held, numStale]).toEqual([[2], 6])
  })

  it("others that are always ahead, nobody left to ask, and a state that is not the log's are told apart", async () => {
    const signal = new AbortController().signal
    const fast = new Training(200, 3, 1)
    const mine = place(200)
    const make = () => new Follower({ state: mine.state, simd: mine.simd, chunkElems, retryMs: 0 })
    const hurried = new TestSource('w0', fast, { lives: 1e9, stepEvery: 1 })
    await expect(make().follow([hurried], 0, signal, () => undefined)).rejects.toMatchObject({
      code: 'SKEIN_CATCHUP_TOO_SLOW',
    })
    const dead = new TestSource('w1', fast, { lives: 30, stepEvery: 1e9 })
    await expect(make().follow([dead], 0, signal, () => undefined)).rejects.toMatchObject({
      code: 'SKEIN_CATCHUP_SOURCES_LOST',
      what: expect.stringContaining('w1') as string,
    })
    const lying: StateSource = {
      name: 'w2',
      standing: async () => ({ step: 9, digest: 'another' }),
      chunk: async ({ elems }) => ({ kind: 'state', step: 9, values: new Float32Array(3 * elems) }),
    }
    await expect(make().reach(9, [lying], signal)).rejects.toMatchObject({ code: 'SKEIN_CATCHUP_STATE_DIFFERS' })
  })
})
