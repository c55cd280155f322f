import fc from 'fast-check'
import { type Random, seededRandom } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { decide } from './decide.ts'
import type { Effect, LogRecord } from './effects.ts'
import type { MembershipEvent } from './events.ts'
import type { CoordinatorMessage } from './messages.ts'
import type { RunEvent } from './run-events.ts'
import { defaultDeadlines, initialState, type MembershipConfig, type MembershipState } from './state.ts'

useTestSeed()

const batch = 8

const configOf = (numWorkers: number, totalSteps: number): MembershipConfig => ({
  runId: 'r',
  runDir: '/r',
  job: {},
  numWorkers,
  totalSteps,
  laneSecret: 's',
  deadlines: defaultDeadlines,
})

/** The machine with everything it ever said. */
class Recorder {
  state: MembershipState
  nowMs = 0
  readonly log: LogRecord[] = []
  readonly events: RunEvent[] = []
  readonly inboxes = new Map<string, CoordinatorMessage[]>()

  constructor(config: MembershipConfig) {
    this.state = initialState(config, 0)
  }

  apply(event: MembershipEvent): readonly Effect[] {
    const { state, effects, reason } = decide(this.state, event, this.nowMs)
    expect(reason).not.toBe('')
    this.state = state
    let sent = false
    for (const effect of effects) {
      switch (effect.type) {
        case 'append':
          expect(sent, 'durable before anything is sent').toBe(false)
          this.log.push(effect.record)
          break
        case 'emit':
          expect(sent, 'durable before anything is sent').toBe(false)
          this.events.push(effect.event)
          break
        case 'send':
          sent = true
          this.#deliver(effect.link, effect.message)
          break
        case 'broadcast':
          sent = true
          for (const link of effect.links) this.#deliver(link, effect.message)
          break
        case 'close':
          break
      }
    }
    return effects
  }

  #deliver(link: string, message: CoordinatorMessage): void {
    const inbox = this.inboxes.get(link)
    if (inbox === undefined) this.inboxes.set(link, [message])
    else inbox.push(message)
  }
}

/** A worker that follows the protocol as the real one does: it computes one step beyond the one it has voted for. */
class Worker {
  readonly workerId: string
  readonly link: string
  #read = 0
  #step = 0
  #committed = 0
  #stopAfter = Number.POSITIVE_INFINITY
  #generation = 0
  #started = false
  #joined = false
  #ready = false
  #finished = false
  #rank = -1
  /** The furthest step it has begun to compute. */
  computing = 0

  constructor(workerId: string) {
    this.workerId = workerId
    this.link = `link-${workerId}`
  }

  /** One thing that this worker may do now; undefined when it can only wait. */
  next(recorder: Recorder): MembershipEvent | undefined {
    const { link, workerId } = this
    this.#readInbox(recorder)
    if (!this.#joined) {
      this.#joined = true
      return {
        type: 'joined',
        link,
        workerId,
        incarnation: `${workerId}-i`,
        protocol: 1,
        lane: { host: 'h', port: 1 },
        pid: 1,
        device: { backend: 'cpu', version: '1', threads: 1 },
      }
    }
    const generation = this.#generation
    if (generation > 0 && !this.#ready) {
      this.#ready = true
      return { type: 'ready', link, generation, digest: 'd0', dataFingerprint: 'f', numParams: 1 }
    }
    if (!this.#started || this.#finished) return undefined
    const last = Math.min(recorder.state.config.totalSteps, this.#stopAfter)
    if (this.#step < last) {
      // Applying step s needs the commit of s-1; computing it does not.
      this.computing = Math.max(this.computing, this.#step + 1)
      if (this.#committed < this.#step) return undefined
      this.#step++
      this.computing = Math.min(last, this.#step + 1)
      return { type: 'voted', link, vote: voteOf(generation, this.#step) }
    }
    if (this.#committed < this.#step) return undefined
    this.#finished = true
    if (this.#rank === 0) recorder.apply({ type: 'checkpointed', link, generation, step: this.#step, path: 'p' })
    return { type: 'finished', link, generation, step: this.#step, peakRssBytes: 1 }
  }

  #readInbox(recorder: Recorder): void {
    const inbox = recorder.inboxes.get(this.link) ?? []
    for (; this.#read < inbox.length; this.#read++) {
      const message = inbox[this.#read] as CoordinatorMessage
      if (message.type === 'generation') {
        this.#generation = message.generation
        this.#rank = message.members.find(member => member.workerId === this.workerId)?.rank ?? -1
      }
      if (message.type === 'start') this.#started = true
      if (message.type === 'commit') this.#committed = message.step
      if (message.type === 'stop') {
        this.#stopAfter = message.afterStep
        expect(this.computing, 'nobody is past the step after which all stop').toBeLessThanOrEqual(message.afterStep)
      }
    }
  }
}

function voteOf(generation: number, step: number, digest = `d${step}`) {
  return {
    generation,
    step,
    digest,
    loss: 1,
    samples: [(step - 1) * batch, step * batch] as const,
    tokens: 1,
    stepMs: 1,
    computeMs: 1,
    commMs: 1,
    waitMs: 1,
    bytesSent: 1,
    rssBytes: 1,
    liveTensors: 1,
  }
}

/** What must hold of every log, whatever happened. */
function checkLog(recorder: Recorder): void {
  const commits = recorder.log.filter(record => record.type === 'commit')
  commits.forEach((commit, i) => {
    expect(commit.step, 'steps without gaps').toBe(i + 1)
    expect(commit.samplesFrom, 'each sample once').toBe(i * batch)
    expect(commit.samplesTo).toBe((i + 1) * batch)
    expect(commit.digest, 'the digest that all voted for').toBe(`d${i + 1}`)
  })
  const ends = recorder.log.filter(record => record.type === 'ended')
  expect(ends.length).toBeLessThanOrEqual(1)
  if (ends.length === 1) expect(recorder.log.at(-1)?.type, 'nothing after the end').toBe('ended')
  const shown = recorder.events.filter(event => event.event === 'step').map(event => event.step)
  expect(shown).toEqual(commits.map(commit => commit.step))
  for (const inbox of recorder.inboxes.values()) {
    const told = inbox.filter(message => message.type === 'commit')
    expect(told.map(message => message.step)).toEqual(told.map((_, i) => i + 1))
    expect(told.length).toBeLessThanOrEqual(commits.length)
  }
  const closing = recorder.events.filter(event => event.event === 'done' || event.event === 'error')
  expect(closing.length).toBe(ends.length)
}

/** Lets random workers act in random order, with `disturb` between their acts, until nobody can move. */
function play(recorder: Recorder, workers: Worker[], random: Random, disturb: () => void): void {
  for (;;) {
    disturb()
    const first = random.nextInt(workers.length)
    let event: MembershipEvent | undefined
    for (let i = 0; i < workers.length && event === undefined; i++) {
      event = (workers[(first + i) % workers.length] as Worker).next(recorder)
    }
    if (event === undefined) return
    recorder.nowMs += random.nextInt(50)
    recorder.apply(event)
  }
}

describe('random runs', () => {
  const sizes = fc.record({
    seed: fc.nat(),
    numWorkers: fc.integer({ min: 1, max: 6 }),
    steps: fc.integer({ min: 1, max: 12 }),
  })

  test('undisturbed workers in any order make all steps and are done', () => {
    fc.assert(
      fc.property(sizes, ({ seed, numWorkers, steps }) => {
        const recorder = new Recorder(configOf(numWorkers, steps))
        const workers = Array.from({ length: numWorkers }, (_, i) => new Worker(`w${i}`))
        play(recorder, workers, seededRandom(seed), () => undefined)
        checkLog(recorder)
        expect(recorder.state.outcome?.status).toBe('finished')
        expect(recorder.state.committed.step).toBe(steps)
        expect(recorder.state.members.map(member => member.workerId)).toEqual(workers.map(w => w.workerId))
      }),
    )
  })

  test('a stop at any moment ends all after one step, at most two beyond the last commit', () => {
    fc.assert(
      fc.property(sizes, fc.nat({ max: 80 }), ({ seed, numWorkers, steps }, when) => {
        const recorder = new Recorder(configOf(numWorkers, steps))
        const workers = Array.from({ length: numWorkers }, (_, i) => new Worker(`w${i}`))
        let turn = 0
        let committedAtStop = 0
        play(recorder, workers, seededRandom(seed), () => {
          if (turn++ !== when) return
          committedAtStop = recorder.state.committed.step
          recorder.apply({ type: 'stopRequested', reason: 'test' })
        })
        checkLog(recorder)
        const { outcome, committed, startedMs, stop } = recorder.state
        expect(outcome?.status).toBe(committed.step === steps ? 'finished' : 'stopped')
        if (stop !== undefined) expect(committed.step).toBe(Math.min(steps, committedAtStop + 2))
        else if (outcome?.status === 'stopped') expect(startedMs).toBeUndefined()
      }),
    )
  })

  test('whatever is lost, fails, lies, repeats or comes late: no gap, no second digest, each sample once, one end', () => {
    const faults = fc.array(
      fc.record({ turn: fc.nat({ max: 120 }), kind: fc.nat({ max: 9 }), who: fc.nat(), other: fc.nat() }),
      { maxLength: 4 },
    )
    fc.assert(
      fc.property(sizes, faults, ({ seed, numWorkers, steps }, planned) => {
        const recorder = new Recorder(configOf(numWorkers, steps))
        const workers = Array.from({ length: numWorkers }, (_, i) => new Worker(`w${i}`))
        let turn = 0
        play(recorder, workers, seededRandom(seed), () => {
          for (const fault of planned.filter(candidate => candidate.turn === turn)) {
            for (const event of faultEvents(recorder.state, workers, fault)) recorder.apply(event)
          }
          turn++
        })
        // Whoever still waits is ended by the deadlines, one phase at a time.
        for (let i = 0; i < 8 && recorder.state.phase !== 'ended'; i++) {
          recorder.nowMs = recorder.state.deadlineMs
          recorder.apply({ type: 'tick' })
        }
        checkLog(recorder)
        expect(recorder.state.phase).toBe('ended')
        const { outcome } = recorder.state
        if (outcome?.status === 'failed') expect(outcome.error?.todo).not.toBe('')
      }),
      { numRuns: 500 },
    )
  })

  test('one lying digest is found, its worker named, and the step not committed', () => {
    fc.assert(
      fc.property(sizes, fc.nat(), ({ seed, numWorkers, steps }, who) => {
        fc.pre(numWorkers >= 3)
        const liar = `w${who % numWorkers}`
        const badStep = 1 + (seed % steps)
        const recorder = new Recorder(configOf(numWorkers, steps))
        const workers = Array.from({ length: numWorkers }, (_, i) => new Worker(`w${i}`))
        const honest = recorder.apply.bind(recorder)
        recorder.apply = event => {
          const lies = event.type === 'voted' && event.link === `link-${liar}` && event.vote.step === badStep
          return honest(lies ? { ...event, vote: { ...event.vote, digest: 'x' } } : event)
        }
        play(recorder, workers, seededRandom(seed), () => undefined)
        checkLog(recorder)
        expect(recorder.state.committed.step).toBe(badStep - 1)
        expect(recorder.state.outcome?.error?.code).toBe('SKEIN_MEMBERSHIP_DIGEST_MISMATCH')
        expect(recorder.state.outcome?.error?.details['minority']).toEqual([liar])
      }),
    )
  })

  test('a thousand members commit three steps in memory', () => {
    const numWorkers = 1000
    const recorder = new Recorder(configOf(numWorkers, 3))
    const workers = Array.from({ length: numWorkers }, (_, i) => new Worker(`w${i}`))
    for (let round = 0; round < 6; round++) {
      for (const worker of workers) {
        const event = worker.next(recorder)
        if (event !== undefined) recorder.apply(event)
      }
    }
    checkLog(recorder)
    expect(recorder.state.outcome?.status).toBe('finished')
  })
})

function faultEvents(
  state: MembershipState,
  workers: readonly Worker[],
  fault: { readonly kind: number; readonly who: number; readonly other: number },
): MembershipEvent[] {
  const { link, workerId } = workers[fault.who % workers.length] as Worker
  const peerRank = fault.other % workers.length
  const { generation } = state
  const step = state.committed.step
  const error = { code: 'SKEIN_X', retry: 'never', what: 'it broke', todo: 'mend it', details: {} } as const
  const joined = {
    type: 'joined',
    workerId,
    incarnation: `${workerId}-i`,
    protocol: 1,
    lane: { host: 'h', port: 1 },
    pid: 2,
    device: { backend: 'cpu', version: '1', threads: 1 },
  } as const
  switch (fault.kind) {
    case 0:
      return [{ type: 'linkLost', link, reason: 'reset' }]
    case 1:
      return [{ type: 'failed', link, error }]
    case 2:
      return [{ type: 'failed', link, error, peerRank }]
    case 3:
      // w0 never lies: what all agree on would be the truth.
      if (workerId === 'w0') return []
      return [{ type: 'voted', link, vote: voteOf(generation, step + 1, 'x') }]
    case 4:
      // Repeats of what was said, of another generation, and from the future.
      return [
        { type: 'voted', link, vote: voteOf(generation, step) },
        { type: 'voted', link, vote: voteOf(generation + 1, step + 1) },
        { type: 'voted', link, vote: voteOf(generation, step + 2) },
        { type: 'finished', link, generation, step: step + 1, peakRssBytes: 1 },
      ]
    case 5:
      return [{ ...joined, link: 'link-again', incarnation: `${workerId}-second` }]
    case 6:
      return [
        { ...joined, link: 'link-copy' },
        { type: 'linkLost', link: 'link-copy', reason: 'closed' },
      ]
    case 7:
      return [{ ...joined, link: 'link-stranger', workerId: 'stranger', incarnation: 's' }]
    case 8:
      return [{ type: 'left', link, reason: 'told to' }]
    default:
      return [{ type: 'stopRequested', reason: 'test' }]
  }
}
