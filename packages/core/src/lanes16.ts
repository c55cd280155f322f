/** A 64-bit hash as two uint32. */
export interface Lanes16 {
  readonly lo: number
  readonly hi: number
}

const numLanes = 16
const blockBytes = 64

const rotl = (x: number, k: number) => (x << k) | (x >>> (32 - k))

/** The finalizer of MurmurHash3 (Appleby). */
function fmix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return (x ^ (x >>> 16)) >>> 0
}

/**
 * The hash "lanes16" of a few bytes: headers of frames. It finds accidents, not attackers. @skein/simd computes
 * the same over large buffers.
 *
 * All numbers are uint32, arithmetic is mod 2^32, words are little endian.
 * 1. `acc[i] = seed + i · 0x85EBCA77` for i = 0 … 15.
 * 2. For each block of 64 bytes, the last one padded with zeros: `acc[i] = rotl(acc[i] ^ word[i], 13) · 0x9E3779B1`. No bytes, no block.
 * 3. `h1 = length in bytes`, `h2 = h1 ^ 0x9E3779B9`; for i = 0 … 15: `h1 = fmix(h1 ^ acc[i])`, `h2 = fmix((h2 ^ rotl(acc[i], 16)) + h1)`.
 * 4. `lo = h1`, `hi = h2`.
 */
export function lanes16(bytes: Uint8Array, seed = 0): Lanes16 {
  const lanes = new Uint32Array(numLanes)
  for (let i = 0; i < numLanes; i++) lanes[i] = seed + Math.imul(i, 0x85ebca77)
  for (let block = 0; block < bytes.length; block += blockBytes) {
    for (let i = 0; i < numLanes; i++) {
      const at = block + i * 4
      const word =
        (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)
      lanes[i] = Math.imul(rotl((lanes[i] ?? 0) ^ word, 13), 0x9e3779b1)
    }
  }
  let h1 = bytes.length >>> 0
  let h2 = (h1 ^ 0x9e3779b9) >>> 0
  for (const lane of lanes) {
    h1 = fmix(h1 ^ lane)
    h2 = fmix(((h2 ^ rotl(lane, 16)) + h1) | 0)
  }
  return { lo: h1, hi: h2 }
}
