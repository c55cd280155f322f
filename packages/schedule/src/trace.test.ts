import { expect, test } from 'vitest'
import { unitCosts } from './costs.ts'
import { families, generateSchedule } from './families.ts'
import { sizesOf } from './family.ts'
import { offloadActivations } from './pipe-offload.ts'
import { simulate } from './simulate.ts'
import { messagesBetween } from './traffic.ts'
import { type TraceEvent, traceOf } from './trace.ts'

const traced = (name: string) => {
  const schedule = generateSchedule(name, { ranks: 4, microbatches: 8 })
  return { schedule, ...traceOf(schedule, [{ name: 'simulated', ops: simulate(schedule, unitCosts).ops }]) }
}

test('a span says what ran on which rank, from when, in microseconds', () => {
  const { traceEvents } = traced('1f1b')
  const spans = traceEvents.filter(({ ph }) => ph === 'X')
  expect(spans).toHaveLength(2 * 4 * 8)
  expect(spans.find(({ name, tid }) => name === 'BW 0' && tid === 6)).toEqual({
    name: 'BW 0',
    cat: 'BW',
    ph: 'X',
    pid: 0,
    tid: 6,
    ts: 4000,
    dur: 2000,
    args: { op: 'BW of stage 3, microbatch 0', stage: 3, microbatch: 0 },
  })
})

test.each(families.map(({ name }) => name))('%s: an arrow for every message, from its maker to its taker', name => {
  const family = families.find(one => one.name === name) as (typeof families)[number]
  const schedule = family.generate(sizesOf(family, { ranks: 4, microbatches: 8 }))
  const { traceEvents } = traceOf(schedule, [{ name: 'simulated', ops: simulate(schedule, unitCosts).ops }])
  const spans = traceEvents.filter(({ ph }) => ph === 'X')
  const around = ({ tid, ts = 0 }: TraceEvent) =>
    spans.find(one => one.tid === tid && (one.ts as number) <= ts && ts < (one.ts as number) + (one.dur as number))
  const starts = traceEvents.filter(({ ph }) => ph === 's')
  const messages = messagesBetween(schedule).flat()
  expect(starts).toHaveLength(messages.reduce((sum, count) => sum + count, 0))
  for (const start of starts) {
    const end = traceEvents.find(({ ph, id }) => ph === 'f' && id === start.id) as TraceEvent
    const [maker, taker] = [around(start), around(end)]
    expect(maker?.args?.['microbatch']).toBe(taker?.args?.['microbatch'])
    expect(maker?.args?.['slice']).toBe(taker?.args?.['slice'])
    expect(maker?.tid).not.toBe(taker?.tid)
    expect(end.ts).toBeGreaterThanOrEqual(start.ts as number)
  }
})

test('two timelines are two processes that begin together; copies have a thread of their own', () => {
  const costs = { ...unitCosts, copy: 0.5 }
  const schedule = offloadActivations(generateSchedule('1f1b', { ranks: 2, microbatches: 4 }), costs)
  const { ops } = simulate(schedule, costs)
  const later = ops.map(list => list.map(({ op, start, end }) => ({ op, start: start + 777, end: end + 777 })))
  const { traceEvents } = traceOf(schedule, [
    { name: 'simulated', ops },
    { name: 'executed', ops: later },
  ])
  const names = traceEvents
    .filter(({ name }) => name.endsWith('_name'))
    .map(({ pid, args }) => `${pid} ${args?.['name']}`)
  expect(names).toEqual([
    '0 1f1b, simulated',
    '0 rank 0',
    '0 rank 0, copies',
    '0 rank 1',
    '1 1f1b, executed',
    '1 rank 0',
    '1 rank 0, copies',
    '1 rank 1',
  ])
  const of = (pid: number) =>
    traceEvents.filter(one => one.pid === pid && one.ph === 'X').map(({ name, ts }) => [name, ts])
  expect(of(1)).toEqual(of(0))
  expect(new Set(traceEvents.filter(({ ph }) => ph === 's').map(({ id }) => id)).size).toBe(2 * 8)
})
