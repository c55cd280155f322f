import { expect, test } from 'vitest'
import { drawFaults, faultKinds, needsCheckpoints, needsNetwork, parseFaults, parseScript } from './faults.ts'

test('the same seed draws the same faults, in the order of steps, and every kind comes up', () => {
  const faults = drawFaults(7, 200, 50)
  expect(drawFaults(7, 200, 50)).toEqual(faults)
  expect(drawFaults(8, 200, 50)).not.toEqual(faults)
  expect(faults.map(fault => fault.atStep)).toEqual(faults.map(fault => fault.atStep).toSorted((a, b) => a - b))
  expect(faults.every(({ atStep }) => atStep >= 1 && atStep <= 45)).toBe(true)
  expect(faults.filter(needsCheckpoints).every(({ atStep }) => atStep <= 35)).toBe(true)
  expect(new Set(faults.map(fault => fault.kind))).toEqual(new Set(faultKinds))
  expect(new Set(faults.filter(needsCheckpoints).map(fault => fault.kind))).toEqual(new Set(['disk', 'torn']))
})

test('faults can be written down', () => {
  expect(parseFaults('kill:w1@10, coordinator@20,stop@30:6000')).toEqual([
    { kind: 'kill', workerId: 'w1', atStep: 10, who: 0, forMs: 1_000 },
    { kind: 'coordinator', atStep: 20, who: 0, forMs: 1_000 },
    { kind: 'stop', atStep: 30, who: 0, forMs: 6_000 },
  ])
  for (const text of ['', 'kill', 'burn@3', 'kill@x', 'kill@3:']) expect(() => parseFaults(text)).toThrow(RangeError)
})

test('a script also says where in the traffic', () => {
  const text = JSON.stringify([
    { kind: 'one-way', step: 9, worker: 'w1', peer: 'w0', forMs: 20 },
    { kind: 'kill', step: 5, rank: 2, op: 0, chunk: 3 },
  ])
  const faults = parseScript(text)
  expect(faults).toEqual([
    { kind: 'kill', atStep: 5, who: 0, forMs: 1_000, rank: 2, place: { op: 0, chunk: 3 } },
    { kind: 'one-way', atStep: 9, who: 0, forMs: 20, workerId: 'w1', peer: 'w0' },
  ])
  expect(faults.map(needsNetwork)).toEqual([true, true])
  expect(needsNetwork({ kind: 'kill', atStep: 1, who: 0, forMs: 1 })).toBe(false)
  for (const wrong of ['[{"kind":"burn","step":1}]', '[{"kind":"kill","step":1,"colour":1}]', '{}'])
    expect(() => parseScript(wrong)).toThrow(RangeError)
})
