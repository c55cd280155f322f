import { KeptCopies } from '@skein/catchup'
import { flatLayout } from '@skein/model'
import { createSharedMemory, SharedArena } from '@skein/simd'
import { createTrainingState, trainingStateBytes } from '@skein/trainer'
import { expect, test } from 'vitest'
import { OwnCopies } from './own-copies.ts'

const layout = flatLayout([{ name: 'w', shape: [7], decay: true, segment: 0 }])

/** Parameters 3 · step, moments one and two above. */
function trained() {
  const state = createTrainingState(layout, new SharedArena(createSharedMemory(trainingStateBytes(layout))))
  const regions = () => {
    const { params, expAvg, expAvgSq } = state.current()
    return [params, expAvg, expAvgSq].map(
      ({ byteOffset }) => new Float32Array(state.sharedBuffer, byteOffset, layout.totalElems),
    )
  }
  const isAfter = (step: number) => regions().every((values, i) => values.every(value => value === 3 * step + i))
  const train = (step: number) => {
    state.vacate()
    state.flip(step)
    for (const [i, values] of regions().entries()) values.fill(3 * step + i)
  }
  return { state, train, isAfter }
}

test('a rank goes back to its copy of a mirrored step, long after the training has written over that', () => {
  const { state, train, isAfter } = trained()
  const copies = new OwnCopies(state)
  expect(copies.goBackTo(5)).toBe(false)
  for (let step = 1; step <= 9; step++) {
    train(step)
    if (step === 5) copies.take(step, undefined)
  }
  expect(copies.goBackTo(4)).toBe(false)
  expect(isAfter(9)).toBe(true)
  expect(copies.goBackTo(5)).toBe(true)
  expect(isAfter(5)).toBe(true)
  expect(state.step()).toBe(5)
  expect(state.goBackTo(9), 'what was after it is forgotten').toBe(false)
})

test('the last whole one stays until another one is whole, and the one under way is written over', () => {
  const { train, state } = trained()
  const copies = new OwnCopies(state)
  const take = (step: number, whole: number | undefined) => {
    train(step)
    return new KeptCopies(copies.take(step, whole))
  }
  const held = (kept: KeptCopies) => [1, 2, 3, 4].filter(step => kept.has(step))
  expect(held(take(1, undefined))).toEqual([1])
  expect(held(take(2, 1))).toEqual([1, 2])
  expect(held(take(3, 1)), '2 was given up').toEqual([1, 3])
  expect(held(take(4, 3))).toEqual([3, 4])
  // A run that went back makes the same steps again: what was not whole is not taken for them.
  train(4)
  state.params().fill(-1)
  const again = new KeptCopies(copies.take(4, 3))
  expect(again.viewsOf(4)?.[0].every(value => value === -1)).toBe(true)
})
