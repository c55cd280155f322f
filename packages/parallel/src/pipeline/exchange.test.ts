import { createSharedMemory } from '@skein/simd'
import { expect, test } from 'vitest'
import { Exchange, exchangeBytes, type ExchangeGroup, type ExchangeOptions } from './exchange.ts'

/** Ops that end when the test says so: what a rank does while they are under way, or when they fail. */
function controlled() {
  const ends: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = []
  const op = () => new Promise<never>((resolve, reject) => ends.push({ resolve: resolve as () => void, reject }))
  return { ends, group: { reduce: op, broadcast: op, allGather: op } satisfies ExchangeGroup }
}

function exchangeWith(
  options: Pick<ExchangeOptions, 'kind' | 'rank' | 'depth' | 'microbatches'>,
  group: ExchangeGroup,
) {
  const shape = { ...options, elems: 3, ranks: 2, root: 0 }
  const bytes = exchangeBytes(shape)
  return new Exchange({ ...shape, group, memory: createSharedMemory(bytes + 64), region: { byteOffset: 64, bytes } })
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  promise.then(
    () => (settled = true),
    () => (settled = true),
  )
  for (let turn = 0; turn < 5; turn++) await Promise.resolve()
  return settled
}

test('what is given waits for nobody until a buffer is used again, and then for the op that has it', async () => {
  const { ends, group } = controlled()
  const exchange = exchangeWith({ kind: 'sum', rank: 1, depth: 2, microbatches: 3 }, group)
  exchange.begin()
  await exchange.give(0, values => values.fill(1))
  await exchange.give(1, values => values.fill(2))
  const third = exchange.give(2, values => values.fill(3))
  expect(await isSettled(third)).toBe(false)
  ends[0]?.resolve()
  await third
  expect(ends).toHaveLength(3)
})

test('what the root sends has a buffer before it comes: as many as there are, then the next for each that was taken', async () => {
  const { ends, group } = controlled()
  const exchange = exchangeWith({ kind: 'spread', rank: 1, depth: 2, microbatches: 3 }, group)
  exchange.begin()
  expect(ends).toHaveLength(2)
  ends[0]?.resolve()
  await exchange.take(0, () => undefined)
  expect(ends).toHaveLength(3)
  ends[1]?.resolve()
  await exchange.take(1, () => undefined)
  expect(ends).toHaveLength(3)
})

test('the root takes what it gave without waiting for the others', async () => {
  const { group } = controlled()
  const exchange = exchangeWith({ kind: 'spread', rank: 0, depth: 1, microbatches: 1 }, group)
  exchange.begin()
  await exchange.give(0, values => values.set([4, 5, 6]))
  expect(await exchange.take(0, values => [...values])).toEqual([4, 5, 6])
})

test('a failed op is the error of what takes it, of what needs its buffer, and of the end; nothing is left unhandled', async () => {
  const { ends, group } = controlled()
  const exchange = exchangeWith({ kind: 'gather', rank: 1, depth: 1, microbatches: 2 }, group)
  exchange.begin()
  await exchange.give(0, values => values.fill(1))
  ends[0]?.reject(new Error('rank 0 is gone'))
  await expect(exchange.take(0, () => undefined)).rejects.toThrow('rank 0 is gone')
  await expect(exchange.give(1, () => undefined)).rejects.toThrow('rank 0 is gone')
  await expect(exchange.settled()).rejects.toThrow('rank 0 is gone')
})
