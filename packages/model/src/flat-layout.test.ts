import { numElements } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { flatLayout, type ParamSpec, placeOf } from './flat-layout.ts'

useTestSeed()

const specs = fc
  .array(
    fc.record({
      shape: fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 3 }),
      decay: fc.boolean(),
      segment: fc.integer({ min: 0, max: 3 }),
    }),
    { minLength: 1, maxLength: 20 },
  )
  .map(list => list.map((spec, i): ParamSpec => ({ ...spec, name: `p${i}` })))

describe('a flat layout', () => {
  it('gives each tensor its own place at a multiple of 16 elements', () => {
    fc.assert(
      fc.property(specs, list => {
        const { tensors, totalElems, numParams } = flatLayout(list)
        expect(tensors.map(t => t.name).toSorted()).toEqual(list.map(t => t.name).toSorted())
        let end = 0
        for (const { offset, elems, shape } of tensors) {
          expect(elems).toBe(numElements(shape))
          expect(offset % 16).toBe(0)
          expect(offset).toBeGreaterThanOrEqual(end)
          expect(offset - end).toBeLessThan(16)
          end = offset + elems
        }
        expect(totalElems).toBe(Math.ceil(end / 16) * 16)
        expect(numParams).toBe(list.reduce((sum, { shape }) => sum + numElements(shape), 0))
      }),
    )
  })

  it('has a bucket for each segment, the last first, and slabs of one decay that cover everything once', () => {
    fc.assert(
      fc.property(specs, list => {
        const { tensors, buckets, slabs, totalElems } = flatLayout(list)
        for (const ranges of [buckets, slabs]) {
          let end = 0
          for (const { offset, elems } of ranges) {
            expect(offset).toBe(end)
            end += elems
          }
          expect(end).toBe(totalElems)
        }
        const segments = buckets.map(bucket => bucket.segment)
        expect(segments).toEqual([...new Set(list.map(spec => spec.segment))].sort((a, b) => b - a))
        const within = (range: { offset: number; elems: number }, offset: number) =>
          offset >= range.offset && offset < range.offset + range.elems
        for (const { offset, segment, decay } of tensors) {
          expect(buckets.find(bucket => within(bucket, offset))?.segment).toBe(segment)
          expect(slabs.find(slab => within(slab, offset))?.decay).toBe(decay)
        }
      }),
    )
  })

  it('names the nearest parameter when asked for one it does not have', () => {
    const layout = flatLayout([{ name: 'wte.weight', shape: [4], decay: true, segment: 0 }])
    expect(placeOf(layout, 'wte.weight').offset).toBe(0)
    expect(() => placeOf(layout, 'wte.weigth')).toThrow(
      expect.objectContaining({ code: 'SKEIN_MODEL_PARAMETER', why: expect.stringContaining('wte.weight') }),
    )
  })
})
