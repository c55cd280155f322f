import { messagesOf } from '@skein/collective'
import { CoreErrors, SkeinError } from '@skein/core'
import { temporaryFolder } from '@skein/testkit'
import { expect, it } from 'vitest'
import { openWorld } from './pipeline-world.test.support.ts'
import { StateChain } from './state-chain.ts'

/** No float32 has them, and their sum depends on its order. */
const parts = [0.1, 1e17, 3.3, -0.7]

it('every rank learns the same sum, made in the order of the ranks, and knows the part up to itself before', async () => {
  using folder = temporaryFolder('skein-chain-')
  const ranks = parts.length
  const world = await openWorld(folder.path, ranks)
  try {
    const found = await Promise.all(
      world.map(async ({ group, arena }, rank) => {
        const region = arena.alloc('chain', StateChain.bytes)
        const chain = new StateChain({
          rank,
          ranks,
          groupRankOf: part => part,
          messages: messagesOf(group),
          memory: arena.memory,
          region,
        })
        const steps = []
        for (let step = 255; step < 260; step++) {
          chain.begin(step)
          const known = await chain.passOn(step, {
            lossSum: rank,
            samples: 2,
            sumSquares: step * (parts[rank] as number),
          })
          steps.push({ known, truth: await chain.verdict(step) })
        }
        return steps
      }),
    )
    for (const [rank, steps] of found.entries()) {
      for (const [at, { known, truth }] of steps.entries()) {
        const upTo = (end: number) => parts.slice(0, end).reduce((sum, part) => sum + (255 + at) * part, 0)
        const firstSquares = (255 + at) * (parts[0] as number)
        expect(known).toEqual({
          lossSum: (rank * (rank + 1)) / 2,
          samples: 2 * (rank + 1),
          sumSquares: upTo(rank + 1),
          firstSquares,
        })
        expect(truth).toEqual({ lossSum: 6, samples: 8, sumSquares: upTo(ranks), firstSquares })
      }
    }
  } finally {
    await Promise.all(world.map(opened => opened.close()))
  }
})

it('infinities and what is no number come through', async () => {
  using folder = temporaryFolder('skein-chain-')
  const world = await openWorld(folder.path, 2)
  const truths = await Promise.all(
    world.map(async ({ group, arena }, rank) => {
      const chain = new StateChain({
        rank,
        ranks: 2,
        groupRankOf: part => part,
        messages: messagesOf(group),
        memory: arena.memory,
        region: arena.alloc('chain', StateChain.bytes),
      })
      chain.begin(1)
      const own = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY][rank] as number
      await chain.passOn(1, { lossSum: 0, samples: 1, sumSquares: own })
      return chain.verdict(1)
    }),
  )
  for (const { sumSquares, firstSquares } of truths) {
    expect(sumSquares).toBeNaN()
    expect(firstSquares).toBe(Number.POSITIVE_INFINITY)
  }
  await Promise.all(world.map(opened => opened.close()))
})

it('who waits for a verdict learns that there will be none', async () => {
  using folder = temporaryFolder('skein-chain-')
  const world = await openWorld(folder.path, 3)
  const ends = await Promise.all(
    world.map(async ({ group, arena }, rank) => {
      const chain = new StateChain({
        rank,
        ranks: 3,
        groupRankOf: part => part,
        messages: messagesOf(group),
        memory: arena.memory,
        region: arena.alloc('chain', StateChain.bytes),
      })
      chain.begin(1)
      const known = await chain.passOn(1, { lossSum: 0, samples: 1, sumSquares: 1 })
      if (rank === 2) {
        expect(known.samples).toBe(3)
        group.abort(new SkeinError(CoreErrors.ABORTED, { what: 'rank 2 gives up', todo: 'nothing: a test' }))
        return undefined
      }
      return chain.verdict(1).catch((error: unknown) => error)
    }),
  )
  expect(ends[0]).toBeInstanceOf(SkeinError)
  expect(ends[1]).toBeInstanceOf(SkeinError)
  await Promise.all(world.map(opened => opened.close()))
})
