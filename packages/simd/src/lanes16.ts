import type { Hash64 } from './simd.ts'

const rotl = (x: number, k: number) => (x << k) | (x >>> (32 - k))

/** The finalizer of MurmurHash3 (Appleby). */
function fmix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b)
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35)
  return (x ^ (x >>> 16)) >>> 0
}

/** The hash "lanes16" in plain TypeScript: the twin of `Simd.hash`, for bytes outside a shared memory and for small ones. */
export function hashBytes(bytes: Uint8Array, seed = 0): Hash64 {
  const lanes = new Uint32Array(16)
  for (let i = 0; i < 16; i++) lanes[i] = seed + Math.imul(i, 0x85ebca77)
  for (let block = 0; block < bytes.length; block += 64) {
    for (let i = 0; i < 16; i++) {
      const at = block + i * 4
      const word =
        (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)
      lanes[i] = Math.imul(rotl((lanes[i] as number) ^ word, 13), 0x9e3779b1)
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

/** 16 hex digits, high half first: how digests are written. */
export function formatHash(hash: Hash64): string {
  return hash.hi.toString(16).padStart(8, '0') + hash.lo.toString(16).padStart(8, '0')
}
