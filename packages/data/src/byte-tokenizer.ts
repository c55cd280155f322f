import { documentSeparator } from './pack.ts'

/** Ids 0–255 are bytes; 0 separates documents. */
export const byteVocabSize = 256

/** The UTF-8 bytes of a text as token ids; NUL characters are dropped, since 0 is the separator. */
export function encodeText(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text.replaceAll(String.fromCharCode(documentSeparator), ''))
}

/** Token ids as text. Bytes that are not UTF-8 (a model writes them, a cut leaves them) become U+FFFD; never throws. */
export function decodeTokens(tokens: ArrayLike<number>): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(tokens))
}

/** Decodes tokens as they come: a character is returned once all its bytes are there. */
export interface TokenDecoder {
  push(token: number): string
  /** What is left at the end: an unfinished character as U+FFFD. */
  end(): string
}

export function tokenDecoder(): TokenDecoder {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  return {
    push: token => decoder.decode(Uint8Array.of(token), { stream: true }),
    end: () => decoder.decode(),
  }
}
