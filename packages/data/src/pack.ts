import type { Document } from './documents.ts'

/** The token between documents; no document contains it. */
export const documentSeparator = 0

/** Joins documents into one stream of byte tokens, a separator before, between and after them. A fresh uint8 buffer. */
export function packDocuments(documents: readonly Document[]): Uint8Array<ArrayBuffer> {
  let total = 1
  for (const { bytes } of documents) total += bytes.length + 1
  const stream = new Uint8Array(total)
  let at = 1
  for (const { bytes } of documents) {
    stream.set(bytes, at)
    at += bytes.length + 1
  }
  return stream
}

/** Samples in a stream: sample i has inputs [i·T, i·T+T) and targets one token on, so its last target is a token too. */
export function samplesIn(streamTokens: number, context: number): number {
  return Math.max(0, Math.floor((streamTokens - 1) / context))
}
