/** What a frame belongs to, and how it is done: the two halves of the header's `algorithm` field. */
export const opKinds = [
  'all-reduce',
  'reduce-scatter',
  'all-gather',
  'broadcast',
  'barrier',
  'message',
  'reduce',
  'gather',
  'scatter',
  'all-to-all',
] as const
export type OpKind = (typeof opKinds)[number]

export const algorithms = [
  'ring',
  'tree',
  'star',
  'dissemination',
  'direct',
  'recursive-doubling',
  'halving-doubling',
  'double-tree',
  'hierarchical',
  'pairwise',
  'bruck',
  'two-level',
  'halving',
  'doubling',
] as const
export type Algorithm = (typeof algorithms)[number]

/** Kind in the high byte, algorithm in the low one; both count from 1. Only ever appended to: ranks of two versions compare them. */
export function encodeOpCode(kind: OpKind, algorithm: Algorithm): number {
  return ((opKinds.indexOf(kind) + 1) << 8) | (algorithms.indexOf(algorithm) + 1)
}

/** "ring all-reduce", or the number where it means nothing here. For messages. */
export function describeOpCode(code: number): string {
  const kind = opKinds[(code >> 8) - 1]
  const algorithm = algorithms[(code & 255) - 1]
  return kind === undefined || algorithm === undefined ? `op code ${code}` : `${algorithm} ${kind}`
}
