import { mixKeys } from '@skein/core'

/** A bijection of 0 … size-1, with its inverse. */
export interface Permutation {
  readonly size: number
  forward(index: number): number
  inverse(index: number): number
}

const rounds = 6

/**
 * A keyed pseudo-random permutation of 0 … size-1 (size < 2³²) in constant memory: a Feistel network over the next even number
 * of bits, with cycle walking (values outside the range are mapped again; fewer than four rounds of it on average).
 *
 * Pure: the order of the samples is a function of its keys alone, so any worker finds any sample without state.
 * @see Black & Rogaway 2002, "Ciphers with Arbitrary Finite Domains"
 */
export function keyedPermutation(size: number, ...keys: readonly number[]): Permutation {
  const halfBits = Math.max(1, Math.ceil(Math.log2(Math.max(2, size)) / 2))
  const halfSize = 2 ** halfBits
  const halfMask = halfSize - 1
  const roundKeys = Array.from({ length: rounds }, (_, round) => mixKeys(...keys, size, round))
  const encrypt = (value: number) => {
    let left = Math.floor(value / halfSize)
    let right = value % halfSize
    for (let round = 0; round < rounds; round++) {
      const mixed = left ^ (mixKeys(roundKeys[round] as number, right) & halfMask)
      left = right
      right = mixed
    }
    return left * halfSize + right
  }
  const decrypt = (value: number) => {
    let left = Math.floor(value / halfSize)
    let right = value % halfSize
    for (let round = rounds - 1; round >= 0; round--) {
      const mixed = right ^ (mixKeys(roundKeys[round] as number, left) & halfMask)
      right = left
      left = mixed
    }
    return left * halfSize + right
  }
  const walk = (index: number, map: (value: number) => number) => {
    let value = map(index)
    while (value >= size) value = map(value)
    return value
  }
  return { size, forward: index => walk(index, encrypt), inverse: index => walk(index, decrypt) }
}
