import { mixKeys, SkeinError } from '@skein/core'
import type { Document } from './documents.ts'
import { DataErrors } from './errors.ts'

export interface SplitOptions {
  /** Share of the documents to hold out, 0 < heldOut < 1. */
  readonly heldOut: number
  /** Another seed holds out other documents. Kept apart from the job's seed, so that runs with several seeds compare. */
  readonly splitSeed: number
}

export interface Split {
  readonly train: readonly Document[]
  readonly val: readonly Document[]
  /** Pieces that a lone document was cut into; 0 where there were several documents. */
  readonly pieces: number
}

/**
 * Divides documents into training and held-out ones by a keyed hash of each name: a document stays on its side when others
 * come and go. At least one document is on either side; a lone document is first cut at line ends into about 1/heldOut pieces.
 *
 * @throws SKEIN_DATA_NO_SPLIT when the text is too short to be cut
 */
export function splitDocuments(documents: readonly Document[], options: SplitOptions): Split {
  const { heldOut, splitSeed } = options
  const lone = documents.length === 1 ? documents[0] : undefined
  const parts = lone === undefined ? documents : cutAtLines(lone, Math.max(2, Math.ceil(1 / heldOut)))
  if (parts.length < 2) {
    throw new SkeinError(DataErrors.NO_SPLIT, {
      what: `the data is one document of ${lone?.bytes.length ?? 0} B (${lone?.name ?? 'none'}) that cannot be cut at a line end`,
      why: 'a part of the text is held out to measure the loss on text the model has not seen',
      todo: 'give a folder with at least two documents, or a file with more than one line',
      details: { documents: documents.length },
    })
  }
  const scores = parts.map(part => splitScore(part.name, splitSeed))
  const isVal = scores.map(score => score < heldOut)
  if (!isVal.includes(true)) isVal[indexOfExtreme(scores, (a, b) => a < b)] = true
  if (!isVal.includes(false)) isVal[indexOfExtreme(scores, (a, b) => a > b)] = false
  return {
    train: parts.filter((_, i) => isVal[i] === false),
    val: parts.filter((_, i) => isVal[i] === true),
    pieces: lone === undefined ? 0 : parts.length,
  }
}

/** Uniform in [0, 1), a pure function of name and seed: FNV-1a over the UTF-8 bytes, then mixed with the seed. */
export function splitScore(name: string, splitSeed: number): number {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(name, 'utf8')) hash = Math.imul(hash ^ byte, 0x01000193)
  return mixKeys(splitSeed, hash >>> 0) / 0x1_0000_0000
}

function indexOfExtreme(values: readonly number[], better: (a: number, b: number) => boolean): number {
  let best = 0
  values.forEach((value, i) => {
    if (better(value, values[best] ?? 0)) best = i
  })
  return best
}

function cutAtLines(document: Document, wantedPieces: number): Document[] {
  const { name, bytes } = document
  const pieces: Document[] = []
  const pieceBytes = bytes.length / wantedPieces
  for (let from = 0, k = 1; from < bytes.length; k++) {
    const newline = bytes.indexOf(10, Math.max(from, Math.ceil(k * pieceBytes) - 1))
    const to = newline === -1 ? bytes.length : newline + 1
    pieces.push({ name: `${name}#${pieces.length}`, bytes: bytes.subarray(from, to) })
    from = to
  }
  return pieces
}
