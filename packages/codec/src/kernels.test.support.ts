import { seededRandom } from '@skein/core'
import { createSharedMemory } from '@skein/simd'
import fc from 'fast-check'

/** A memory with four places of up to 16 KiB, each between guard bytes. */
export const memory = createSharedMemory(1 << 17)
const whole = new Uint8Array(memory.buffer)
const guard = 0xa5

/** Puts `bytes` at place `index`, `lead` B after a multiple of 64, with guards on both sides; its byte offset. */
export function put(index: number, lead: number, bytes: ArrayBufferView): number {
  const at = 4096 + index * 20_480 + lead
  whole.fill(guard, at - 64, at + bytes.byteLength + 64)
  whole.set(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), at)
  return at
}

/** The `size` bytes that stand there now, or undefined if a guard beside them was written. */
export function take(at: number, size: number): Uint8Array<ArrayBuffer> | undefined {
  const around = [...whole.subarray(at - 64, at), ...whole.subarray(at + size, at + size + 64)]
  return around.every(byte => byte === guard) ? Uint8Array.from(whole.subarray(at, at + size)) : undefined
}

/** What the generators below draw from: ordinary numbers, and every corner of float32. */
export type Kind = 'normal' | 'wide' | 'subnormal' | 'huge' | 'zero' | 'ties' | 'any'
export const kinds: readonly Kind[] = ['normal', 'wide', 'subnormal', 'huge', 'zero', 'ties', 'any']

/** n float32 of a kind. 'any' is any 32 bits, NaN and infinity included; 'ties' are multiples of half a step of absmax 127. */
export function floats(n: number, kind: Kind, ...keys: number[]): Float32Array<ArrayBuffer> {
  const random = seededRandom(n, ...keys)
  const draw: Readonly<Record<Kind, () => number>> = {
    normal: () => random.nextNormal(),
    wide: () => random.nextNormal() * 10 ** (random.nextInt(61) - 30),
    subnormal: () => random.nextNormal() * 2 ** -(126 + random.nextInt(20)),
    huge: () => Math.max(-3.4028234663852886e38, Math.min(3.4028234663852886e38, random.nextNormal() * 2e38)),
    zero: () => (random.nextInt(2) === 0 ? 0 : -0),
    ties: () => (random.nextInt(509) - 254) / 2,
    any: () => 0,
  }
  if (kind === 'any') return new Float32Array(Uint32Array.from({ length: n }, () => random.nextUint32()).buffer)
  return Float32Array.from({ length: n }, draw[kind])
}

/** Copies with every NaN made the same, so that all else can be compared bit for bit. */
export function plainBits(values: Float32Array): Uint32Array {
  return Uint32Array.from(new Uint32Array(values.slice().buffer), bits =>
    (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : bits,
  )
}

/** Size, kind of data, seed and odd starts of one call. */
export const shots = fc.record({
  n: fc.oneof(fc.constantFrom(0, 1, 2, 15, 16, 17, 63, 64, 65, 255, 256, 257, 511, 512, 513), fc.nat(1030)),
  kind: fc.constantFrom(...kinds),
  seed: fc.nat(),
  leads: fc.tuple(fc.nat(15), fc.nat(15), fc.nat(15)),
})
