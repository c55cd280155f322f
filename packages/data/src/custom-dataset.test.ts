import { expect, test } from 'vitest'
import { type CustomSamples, customDataset, openCustomDataset } from './custom-dataset.ts'

const samples: CustomSamples = {
  numSamples: 10,
  numValSamples: 3,
  fingerprint: 'squares v1',
  sample: (split, index) => ({
    image: { data: Float32Array.of(index, index * index), shape: [1, 2] },
    label: { data: Int32Array.of(split === 'train' ? index : -index), shape: [] },
  }),
}
const options = { seed: 1, globalBatch: 4 }

test('samples are stacked along a new first dim, each once an epoch', async () => {
  const dataset = await openCustomDataset(customDataset(samples), options)
  const { arrays } = dataset.batch('train', [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(arrays['image']?.shape).toEqual([10, 1, 2])
  expect(arrays['label']?.shape).toEqual([10])
  const labels = [...(arrays['label']?.data ?? [])]
  expect([...labels].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  labels.forEach((label, row) => expect(arrays['image']?.data[row * 2 + 1]).toBe(label * label))
  expect([...(dataset.batch('val', [0, 1, 2]).arrays['label']?.data ?? [])].sort((a, b) => b - a)).toEqual([0, -1, -2])
})

test('data can be made when it is opened', async () => {
  const dataset = await openCustomDataset(
    customDataset(() => Promise.resolve(samples)),
    options,
  )
  expect(dataset.fingerprint).toBe(
    (await openCustomDataset(customDataset(samples), { ...options, seed: 2 })).fingerprint,
  )
  expect(dataset.fingerprint).toMatch(/^[0-9a-f]{64}$/)
})

test('samples of unequal shape are refused with both shapes', async () => {
  const ragged = await openCustomDataset(
    customDataset({
      ...samples,
      sample: (_, index) => ({ x: { data: new Float32Array(index + 1), shape: [index + 1] } }),
    }),
    options,
  )
  expect(() => ragged.batch('train', [0, 1])).toThrow(expect.objectContaining({ code: 'SKEIN_DATA_CUSTOM_SAMPLE' }))
})

test('an array whose length contradicts its shape is refused', async () => {
  const wrong = await openCustomDataset(
    customDataset({ ...samples, sample: () => ({ x: { data: new Float32Array(3), shape: [2] } }) }),
    options,
  )
  expect(() => wrong.batch('train', [0])).toThrow(/3 elements with shape 2/)
})

test('fewer samples than a batch are refused with both numbers', async () => {
  await expect(openCustomDataset(customDataset(samples), { seed: 1, globalBatch: 11 })).rejects.toThrow(
    /numSamples = 10 .* batch.global = 11/,
  )
})
