import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RunEvent } from '../run-event.ts'
import { liveLines } from './live-lines.ts'
import { plainLine, plainLineEvery } from './plain-line.ts'
import { advance, type RunView, startOfRun, timeLeftMs, tokensPerSecond } from './run-view.ts'
import { visibleWidth } from './text.ts'

useTestSeed()

const stepEvent = (step: number, loss: number): RunEvent => ({
  event: 'step',
  step,
  loss,
  tokens: 4096,
  samples: [32 * (step - 1), 32 * step],
  generation: 1,
  workers: 2,
  digest: '0123456789abcdef',
  stepMs: 200,
  computeMs: 170,
  commMs: 20,
  bytesSent: 1000,
  elapsedMs: 250 * step,
  members: [
    { workerId: 'w0', rank: 0, computeMs: 170, waitMs: 3, rssBytes: 5e8 },
    { workerId: 'w1', rank: 1, computeMs: 160, waitMs: 8, rssBytes: 4e8 },
  ],
})

function viewOf(events: readonly RunEvent[]): RunView {
  return events.reduce(advance, startOfRun('tiny'))
}

const beginning: readonly RunEvent[] = [
  { event: 'run', name: 'tiny', totalSteps: 100, startStep: 0, runDir: '/runs/tiny' },
  { event: 'member', workerId: 'w1', change: 'joined', reason: 'asked to' },
  { event: 'member', workerId: 'w0', change: 'joined', reason: 'asked to' },
  {
    event: 'generation',
    generation: 1,
    members: [
      { workerId: 'w0', rank: 0 },
      { workerId: 'w1', rank: 1 },
    ],
  },
  { event: 'eval', step: 0, loss: 5.545, phase: 'untrained' },
]

describe('the view of a run', () => {
  it('is the fold of its events', () => {
    const view = viewOf([...beginning, stepEvent(1, 5.5), stepEvent(2, 5.1)])
    expect(view).toMatchObject({
      jobName: 'tiny',
      runDir: '/runs/tiny',
      phase: 'training',
      step: 2,
      totalSteps: 100,
      losses: [5.5, 5.1],
      loss: 5.1,
      valLoss: 5.545,
      untrainedLoss: 5.545,
      bytesSent: 2000,
      digest: '0123456789abcdef',
    })
    expect(view.workers).toMatchObject([
      { workerId: 'w0', rank: 0, computeMs: 170, waitMs: 3, rssBytes: 5e8 },
      { workerId: 'w1', rank: 1, computeMs: 160, waitMs: 8, rssBytes: 4e8 },
    ])
    expect(tokensPerSecond(view)).toBeCloseTo(4096 / 0.2, 6)
  })

  it('estimates the time left by the time that recent steps took with what came between them', () => {
    const steps = Array.from({ length: 30 }, (_, i) => stepEvent(i + 1, 5))
    expect(timeLeftMs(viewOf([...beginning, ...steps]))).toBeCloseTo(70 * 250, 6)
  })

  it('estimates by the first step’s own duration while there is no other', () => {
    expect(timeLeftMs(viewOf([...beginning, stepEvent(1, 5)]))).toBeCloseTo(99 * 200, 6)
  })

  it('counts the steps of a resumed run from where it went on', () => {
    const view = viewOf([{ event: 'run', totalSteps: 100, startStep: 40 }, stepEvent(41, 3), stepEvent(42, 3)])
    expect(view.startStep).toBe(40)
    expect(view.step).toBe(42)
  })

  it('keeps a bounded number of losses over any number of steps, evenly spaced', () => {
    const steps = Array.from({ length: 5000 }, (_, i) => stepEvent(i + 1, i + 1))
    const view = viewOf(steps)
    expect(view.losses.length).toBeLessThanOrEqual(1024)
    expect(view.losses.length).toBeGreaterThan(500)
    expect(view.losses.slice(0, 3)).toEqual([1, 1 + view.lossStride, 1 + 2 * view.lossStride])
    expect(view.recent).toHaveLength(20)
  })

  it('shows a lost worker and the typed error of the run', () => {
    const view = viewOf([
      ...beginning,
      stepEvent(1, 5),
      { event: 'member', workerId: 'w1', change: 'lost', reason: 'connection reset' },
      { event: 'error', code: 'SKEIN_X', message: 'worker w1 died', todo: 'start again' },
    ])
    expect(view.phase).toBe('failed')
    expect(view.error).toEqual({ code: 'SKEIN_X', message: 'worker w1 died', todo: 'start again' })
    expect(liveLines(view, 200).join('\n')).toContain('connection reset')
  })

  it('leaves the view alone on an event it does not know', () => {
    const view = viewOf(beginning)
    expect(advance(view, { event: 'weather', sun: true })).toBe(view)
  })

  it('never fails on fields of the wrong type', () => {
    const kinds = [
      'run',
      'member',
      'step',
      'eval',
      'generation',
      'start',
      'checkpoint',
      'mirror-late',
      'stopping',
      'done',
      'error',
      'other',
    ]
    const fields = [
      'step',
      'loss',
      'workerId',
      'rank',
      'members',
      'device',
      'steps',
      'stepMs',
      'digest',
      'reason',
      'path',
    ]
    const event = fc
      .tuple(fc.constantFrom(...kinds), fc.dictionary(fc.constantFrom(...fields), fc.jsonValue()))
      .map(([kind, rest]): RunEvent => ({ ...rest, event: kind }))
    fc.assert(
      fc.property(fc.array(event, { maxLength: 20 }), fc.integer({ min: 1, max: 200 }), (events, columns) => {
        const view = viewOf(events)
        for (const line of liveLines(view, columns)) expect(visibleWidth(line)).toBeLessThanOrEqual(columns)
        for (const one of events) plainLine(view, one)
      }),
    )
  })
})

describe('the live view', () => {
  it('has one row a worker and says what everything is', () => {
    const view = viewOf([...beginning, stepEvent(1, 5.5), stepEvent(2, 5.1)])
    const text = liveLines(view, 100).join('\n')
    for (const part of [
      '2/100',
      '5.100',
      'untrained 5.545',
      'tokens/s',
      '0123456789abcdef',
      'rank 0',
      'rank 1',
      'left',
    ]) {
      expect(text).toContain(part)
    }
    expect(liveLines(view, 100)).toHaveLength(9)
  })

  it('says which part of a model that is cut a worker has', () => {
    const members = [
      { workerId: 'w0', rank: 0 },
      { workerId: 'w1', rank: 1 },
    ]
    const cut: RunEvent = { event: 'generation', generation: 2, parts: 2, members, startStep: 0, reason: 'r' }
    const text = liveLines(viewOf([...beginning, cut]), 100).join('\n')
    expect(text).toContain('rank 0, part 0')
    expect(text).toContain('rank 1, part 1')
  })

  it('fits every width from 1 to 200', () => {
    const view = viewOf([...beginning, stepEvent(1, 5.5)])
    for (let columns = 1; columns <= 200; columns++) {
      for (const line of liveLines(view, columns)) expect(visibleWidth(line)).toBeLessThanOrEqual(columns)
    }
  })
})

describe('plain lines', () => {
  it('are about forty a run, with the first and the last step', () => {
    expect(plainLineEvery(400)).toBe(10)
    const view = viewOf(beginning)
    let shown = 0
    let folded = view
    for (let step = 1; step <= 100; step++) {
      const event = stepEvent(step, 4)
      folded = advance(folded, event)
      if (plainLine(folded, event) !== undefined) shown++
    }
    expect(shown).toBeGreaterThanOrEqual(35)
    expect(shown).toBeLessThanOrEqual(60)
    expect(plainLine(folded, stepEvent(100, 4))).toMatch(/^step 100\/100 {2}loss 4\.000/u)
  })
})

describe('a step that is held up', () => {
  const reason = 'step 2 waits 1.2 s, usually 10 ms: rank 1 (w1) has not entered ring all-reduce #6'
  const heldUp: RunEvent = { event: 'held-up', step: 2, cause: 'missing-rank', workerId: 'w1', waitedMs: 1200, reason }

  it('is told of, with whom it waits for, until it is made', () => {
    const waiting = viewOf([...beginning, stepEvent(1, 5), heldUp])
    expect(liveLines(waiting, 200).some(line => line.includes(reason))).toBe(true)
    expect(plainLine(waiting, heldUp)).toBe(reason)
    const made = advance(waiting, stepEvent(2, 5))
    expect(liveLines(made, 200).some(line => line.includes('w1) has not'))).toBe(false)
  })
})

describe('a straggler', () => {
  const reason = 'it takes 1.31 times as long as the median of the 2 others'
  const slow: RunEvent = { event: 'straggler', workerId: 'w1', factor: 1.31, reason }
  const gone: RunEvent = { event: 'straggler-gone', workerId: 'w1', reason: 'it takes 1.01 times as long' }
  const lineOf = (view: RunView) => liveLines(view, 200).find(line => line.includes('w1'))

  it('is marked in the live view until it is none any more', () => {
    const marked = viewOf([...beginning, stepEvent(1, 5), slow, stepEvent(2, 5)])
    expect(lineOf(marked)).toContain('1.31 times as slow')
    expect(liveLines(marked, 200).find(line => line.includes('w0'))).not.toContain('as slow')
    expect(lineOf(advance(marked, gone))).not.toContain('as slow')
  })

  it('is a line of its own in a pipe, with the reason', () => {
    const view = viewOf(beginning)
    expect(plainLine(view, slow)).toBe(`worker w1 is slow: ${reason}`)
    expect(plainLine(view, gone)).toBe('worker w1 is slow no more: it takes 1.01 times as long')
  })
})
