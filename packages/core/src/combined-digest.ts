import { lanes16 } from './lanes16.ts'

/**
 * One digest for a model that is cut in parts, by those of its parts in their order: of a single part its own; else lanes16 over them as text
 * with a blank between, as 16 hex digits. So the same parameters cut otherwise have another digest.
 */
export function combinedDigest(digests: readonly string[]): string {
  const [only] = digests
  if (digests.length === 1 && only !== undefined) return only
  const { hi, lo } = lanes16(Uint8Array.from(digests.join(' '), character => character.charCodeAt(0)))
  return [hi, lo].map(word => word.toString(16).padStart(8, '0')).join('')
}
