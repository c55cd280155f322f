import { seededRandom } from '@skein/core'
import { createSharedMemory, SharedArena } from '@skein/simd'
import { maxAbsDifference } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { codecOf } from './codec.ts'
import { createCodecKernels } from './codec-kernels.ts'
import { ErrorFeedback } from './error-feedback.ts'
import { codecTwin } from './twins.ts'

const elems = 600
/** One round of int4 with error feedback: what was sent. */
function send(feedback: ErrorFeedback, delta: Float32Array): Float32Array {
  const s = new Float32Array(delta.length)
  codecTwin('int4').encode(new Uint8Array(codecOf('int4').encodedBytes(s.length)), s, feedback.begin(delta, s))
  return s
}
const normals = (...keys: number[]) => {
  const random = seededRandom(...keys)
  return Float32Array.from({ length: elems }, () => random.nextNormal())
}

describe('the time average of what is sent', () => {
  const rounds = 400
  /** Largest error of the mean over all rounds; contributions are noise around a mean that is a twentieth of int4's step. */
  function biasOf(round: (delta: Float32Array) => Float32Array): number {
    const meant = new Float64Array(elems)
    const sent = new Float64Array(elems)
    for (let t = 0; t < rounds; t++) {
      const delta = normals(t, 5).map((x, i) => (i % 64 === 0 ? 3 : 0.02 + 0.01 * x))
      round(delta).forEach((x, i) => {
        meant[i] = (meant[i] as number) + (delta[i] as number) / rounds
        sent[i] = (sent[i] as number) + x / rounds
      })
    }
    return maxAbsDifference(sent, meant)
  }

  test('is unbiased with error feedback: off by e / rounds, where e is half a step at most', () => {
    const feedback = ErrorFeedback.ofLength(elems)
    const bias = biasOf(delta => {
      const sent = send(feedback, delta)
      feedback.commit()
      return sent
    })
    // s is 3 plus at most half a step of 3/7 in absolute value; float32 sums of e add less than 1e-5.
    expect(bias).toBeLessThan((3 + 3 / 14) / 14 / rounds + 1e-5)
  })

  test('without it, what is smaller than half a step never arrives', () => {
    const bias = biasOf(delta => {
      const copy = delta.slice()
      codecTwin('int4').encode(new Uint8Array(codecOf('int4').encodedBytes(elems)), copy)
      return copy
    })
    expect(bias).toBeGreaterThan(0.018)
  })
})

test('what was sent and what was kept add up to what was meant, in every round', () => {
  const feedback = ErrorFeedback.ofLength(elems)
  for (let t = 0; t < 20; t++) {
    const delta = normals(t)
    const before = feedback.snapshot()
    const sent = send(feedback, delta)
    feedback.commit()
    for (let i = 0; i < elems; i++) {
      const s = Math.fround((delta[i] as number) + (before[i] as number))
      expect(feedback.error[i]).toBe(Math.fround(s - (sent[i] as number)))
    }
  }
})

test('an aborted round leaves the old error, and the same contribution is sent again alike', () => {
  const feedback = ErrorFeedback.ofLength(elems)
  send(feedback, normals(1))
  feedback.commit()
  const before = feedback.snapshot()
  const first = send(feedback, normals(2))
  feedback.abort()
  feedback.abort()
  expect(feedback.error).toEqual(before)
  expect(send(feedback, normals(2))).toEqual(first)
  feedback.commit()
  expect(feedback.error).not.toEqual(before)
  feedback.restore(before)
  expect(send(feedback, normals(2))).toEqual(first)
})

test('what is not encoded is not lost, and a contribution that is not finite leaves no NaN behind', () => {
  const feedback = ErrorFeedback.ofLength(elems)
  feedback.begin(normals(1), new Float32Array(elems))
  feedback.commit()
  expect(feedback.error).toEqual(new Float32Array(elems))
  const delta = normals(2)
  delta[3] = Number.NaN
  send(feedback, delta)
  feedback.commit()
  expect(feedback.error.every(Number.isFinite)).toBe(true)
})

test('a kernel writes the residuals into arrays of a shared memory', () => {
  const arena = new SharedArena(createSharedMemory(1 << 16))
  const regions = ['e', 'work', 's', 'wire'].map(name => arena.alloc(name, elems * 4))
  const [e, work, s] = regions.map(region => arena.float32(region)) as [Float32Array, Float32Array, Float32Array]
  const shared = new ErrorFeedback(e, work)
  const plain = ErrorFeedback.ofLength(elems)
  const kernel = createCodecKernels(arena.memory).codec('int4')
  for (let t = 0; t < 5; t++) {
    const residual = shared.begin(normals(t), s)
    kernel.encodeResidual(regions[3]?.byteOffset ?? -1, s.byteOffset, residual.byteOffset, elems)
    expect(s).toEqual(send(plain, normals(t)))
    shared.commit()
    plain.commit()
    expect(shared.error).toEqual(plain.error)
  }
})

test('calls out of order and other lengths are refused', () => {
  const feedback = ErrorFeedback.ofLength(2)
  const refused = expect.objectContaining({ code: 'SKEIN_CODEC_FEEDBACK' })
  expect(() => feedback.commit()).toThrow(refused)
  feedback.begin(new Float32Array(2), new Float32Array(2))
  expect(() => feedback.begin(new Float32Array(2), new Float32Array(2))).toThrow(refused)
  expect(() => feedback.begin(new Float32Array(3), new Float32Array(3))).toThrow(refused)
  expect(() => feedback.restore(new Float32Array(1))).toThrow(refused)
  expect(() => new ErrorFeedback(new Float32Array(1), new Float32Array(2))).toThrow(refused)
})
