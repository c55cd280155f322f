import { describe, expect, it } from 'vitest'
import { BodyTag, isNonce, newNonce } from './body-tag.ts'

function tagOf(token: string, nonce: string, ...pieces: readonly Uint8Array[]): string {
  const tag = new BodyTag(token, nonce)
  for (const piece of pieces) tag.update(piece)
  return tag.digest()
}

describe("an answer's tag", () => {
  const nonce = '000102030405060708090a0b'
  const bytes = Uint8Array.from({ length: 1_000 }, (_, i) => i % 251)

  it('hangs on every byte, the token and the nonce, and not on the pieces that the bytes come in', () => {
    const tag = tagOf('token', nonce, bytes)
    expect(tag).toMatch(/^[0-9a-f]{32}$/)
    expect(tagOf('token', nonce, bytes.subarray(0, 1), bytes.subarray(1, 17), bytes.subarray(17))).toBe(tag)
    for (const at of [0, 499, 999]) {
      const changed = bytes.slice()
      changed[at] = (changed[at] ?? 0) ^ 1
      expect(tagOf('token', nonce, changed)).not.toBe(tag)
    }
    expect(tagOf('token', nonce, bytes.subarray(1))).not.toBe(tag)
    expect(tagOf('another', nonce, bytes)).not.toBe(tag)
    expect(tagOf('token', '000102030405060708090a0c', bytes)).not.toBe(tag)
  })

  it('has nonces of their own shape only', () => {
    expect(isNonce(newNonce())).toBe(true)
    expect(newNonce()).not.toBe(newNonce())
    for (const bad of [undefined, '', '00', `${nonce}00`, 'x'.repeat(24), [nonce]]) expect(isNonce(bad)).toBe(false)
  })
})
