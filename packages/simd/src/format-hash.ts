import type { Hash64 } from './simd.ts'

/** 16 hex digits, high half first: how digests are written. */
export function formatHash(hash: Hash64): string {
  return hash.hi.toString(16).padStart(8, '0') + hash.lo.toString(16).padStart(8, '0')
}
