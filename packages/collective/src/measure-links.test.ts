import { useTestSeed } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { measureLinks, measuringElems, tournament } from './measure-links.ts'
import { World } from './world.test.support.ts'

useTestSeed()

test('a tournament has every pair once, and a rank at most once a round', () => {
  for (let ranks = 1; ranks <= 17; ranks++) {
    const rounds = tournament(ranks)
    const seen = new Set<string>()
    for (const pairs of rounds) {
      expect(new Set(pairs.flat()).size).toBe(2 * pairs.length)
      for (const [a, b] of pairs) {
        expect(a).toBeLessThan(b)
        seen.add(`${a} ${b}`)
      }
    }
    expect(seen.size).toBe((ranks * (ranks - 1)) / 2)
    expect(rounds.length).toBe(Math.max(0, ranks + (ranks % 2) - 1))
  }
})

describe('measuring', () => {
  test.each([1, 2, 3, 5])('gives all of %i ranks the same figures for every pair', async ranks => {
    const world = new World({ ranks, seed: ranks, segmentBytes: 1 << 16, memoryBytes: 1 << 18 })
    // The clock of a world stands still but for this: a message is as slow as the sum of its ranks.
    const outcomes = await world.each(async rank => {
      const region = world.region(rank, new Float32Array(measuringElems(ranks)))
      let nowMs = 0
      const clock = { now: () => (nowMs += rank + 1) }
      return measureLinks({ group: world.member(rank).group, region, view: world.view(rank, region), clock })
    })
    const [first] = outcomes
    for (const outcome of outcomes) expect(outcome).toEqual(first)
    const links = (first as PromiseFulfilledResult<Awaited<ReturnType<typeof measureLinks>>>).value
    for (let a = 0; a < ranks; a++) {
      for (let b = 0; b < ranks; b++) {
        // Each exchange reads the clock twice: its time is one tick of the lower rank.
        expect(links.latencyMs[a]?.[b]).toBe(a === b ? 0 : (Math.min(a, b) + 1) / 2)
      }
    }
    expect(links.worst.latencyMs).toBe(ranks < 2 ? 0 : (ranks - 1) / 2)
    expect([...links.ringOrder].sort((x, y) => x - y)).toEqual(Array.from({ length: ranks }, (_, i) => i))
  })
})
