import { createCipheriv, createHmac, randomBytes } from 'node:crypto'

const nonceBytes = 12
const noncePattern = /^[0-9a-f]{24}$/

/** Of one answer, drawn by who gives it: 24 hex digits. Random, so never twice in the 2^32 answers that a generation's key is good for. */
export const newNonce = (): string => randomBytes(nonceBytes).toString('hex')

export const isNonce = (text: unknown): text is string => typeof text === 'string' && noncePattern.test(text)

/**
 * A tag of bytes, given in pieces, that nobody can make or check without the generation's token: GMAC, AES-256-GCM over data that is not encrypted
 * (NIST SP 800-38D). 10 MB take 1.5 ms, SHA-256 takes 6.7 (docs/lab-log.md), and every step of a worker that catches up is tagged twice.
 */
export class BodyTag {
  readonly #cipher

  constructor(token: string, nonce: string) {
    const key = createHmac('sha256', token).update('skein-state/3 body').digest()
    this.#cipher = createCipheriv('aes-256-gcm', key, Buffer.from(nonce, 'hex'))
  }

  update(bytes: Uint8Array): void {
    this.#cipher.setAAD(bytes)
  }

  /** 32 hex digits. Ends it. */
  digest(): string {
    this.#cipher.final()
    return this.#cipher.getAuthTag().toString('hex')
  }
}
