import { expect, test } from 'vitest'
import { Liveness } from './liveness.ts'

const options = { intervalMs: 1_000, deadAfterMs: 5_000 }

test('a peer that speaks is alive, one that is silent for longer than allowed is not', () => {
  const liveness = new Liveness(options, 0)
  for (let now = 1_000; now <= 20_000; now += 1_000) {
    liveness.heard(now - 10)
    expect(liveness.tick(now)).toBeUndefined()
  }
  for (let now = 21_000; now <= 24_000; now += 1_000) expect(liveness.tick(now)).toBeUndefined()
  expect(liveness.tick(25_000)).toBe(5_010)
})

test('a process that stood still itself blames nobody before one more interval', () => {
  const liveness = new Liveness(options, 0)
  expect(liveness.tick(1_000)).toBeUndefined()
  expect(liveness.tick(60_000)).toBeUndefined()
  expect(liveness.tick(61_000)).toBeUndefined()
  expect(liveness.tick(62_000)).toBe(6_000)
})

test('what is heard after standing still counts', () => {
  const liveness = new Liveness(options, 0)
  expect(liveness.tick(60_000)).toBeUndefined()
  liveness.heard(60_001)
  for (let now = 61_000; now <= 65_000; now += 1_000) expect(liveness.tick(now)).toBeUndefined()
  expect(liveness.tick(66_000)).toBe(5_999)
})
