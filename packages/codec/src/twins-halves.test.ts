import { describe, expect, test } from 'vitest'
import { createCodecKernels } from './codec-kernels.ts'
import { memory, put, take } from './kernels.test.support.ts'
import { bfloat16, float16, narrowTwin, widenTwin } from './twins-halves.ts'

const kernels = createCodecKernels(memory)

describe.each([
  ['fp16', float16],
  ['bf16', bfloat16],
] as const)('%s, all 65,536 values', (name, format) => {
  const kernel = kernels.codec(name)
  /** All but the last two: the next of the largest is infinity, which has no middle. */
  const positive = Uint16Array.from({ length: format.infinity - 1 }, (_, bits) => bits)

  test('the twin widens and narrows each value to itself, and NaN to the one NaN', () => {
    const all = Uint16Array.from({ length: 0x1_0000 }, (_, bits) => bits)
    expect(all.map(bits => narrowTwin(widenTwin(bits, format), format))).toEqual(
      all.map(bits => ((bits & 0x7fff) > format.infinity ? format.nan : bits)),
    )
  })

  test('the twin rounds to the nearer neighbour, and to the even one from the middle', () => {
    // The middle of two neighbours is a float32, and so are the numbers beside it.
    const middles = Float32Array.from(positive, below => (widenTwin(below, format) + widenTwin(below + 1, format)) / 2)
    const nearest = (offset: number) => {
      const words = new Uint32Array(middles.slice().buffer).map(bits => bits + offset)
      return Uint16Array.from(new Float32Array(words.buffer), x => narrowTwin(x, format))
    }
    expect(nearest(-1)).toEqual(positive)
    expect(nearest(0)).toEqual(positive.map(below => below + (below & 1)))
    expect(nearest(1)).toEqual(positive.map(below => below + 1))
  })

  test('the kernel decodes each value, and encodes it and both sides of each middle, as the twin does', () => {
    const count = 2048
    for (let first = 0; first < 0x1_0000; first += count) {
      const bits = Uint16Array.from({ length: count }, (_, i) => first + i)
      const expected = Float32Array.from(bits, h => widenTwin(h, format))
      const [src, dst] = [put(0, 0, bits), put(1, 0, expected)]
      kernel.decode(dst, src, count)
      expect(new Float32Array(take(dst, count * 4)?.buffer as ArrayBuffer)).toEqual(expected)
      for (const offset of [-1, 0, 1]) {
        const beside = Float32Array.from(bits, h => (widenTwin(h, format) + widenTwin((h + 1) & 0xffff, format)) / 2)
        const words = new Uint32Array(beside.buffer)
        for (let i = 0; i < count; i++) words[i] = (words[i] as number) + offset
        const nearest = Uint16Array.from(beside, x => narrowTwin(x, format))
        const [out, from] = [put(2, 0, nearest), put(3, 0, beside)]
        kernel.encode(out, from, count)
        expect(new Uint16Array(take(out, count * 2)?.buffer as ArrayBuffer)).toEqual(nearest)
      }
    }
  })
})
