/** A seeded generator of pseudo-random numbers: xoshiro128** seeded by splitmix32. Same seed and keys, same numbers, everywhere. */
export interface Random {
  /** Uniform uint32. */
  nextUint32(): number
  /** Uniform in [0, 1) with 24 bits. */
  nextFloat(): number
  /** Uniform integer in [0, bound), without bias. */
  nextInt(bound: number): number
  /** Standard normal (Box–Muller). */
  nextNormal(): number
}

const rotl = (x: number, k: number) => ((x << k) | (x >>> (32 - k))) >>> 0

/** Mixes any number of integers into one uint32; the order matters. */
export function mixKeys(...keys: readonly number[]): number {
  let h = 0x9e3779b9
  for (const key of keys) {
    h = Math.imul(h ^ (key | 0), 0x85ebca6b)
    h = Math.imul(rotl(h >>> 0, 13) ^ Math.floor(key / 0x1_0000_0000), 0xc2b2ae35)
    h ^= h >>> 16
  }
  return h >>> 0
}

export function seededRandom(...keys: readonly number[]): Random {
  let z = mixKeys(...keys)
  const splitmix = () => {
    z = (z + 0x9e3779b9) >>> 0
    let x = z
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad)
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97)
    return (x ^ (x >>> 15)) >>> 0
  }
  let a = splitmix()
  let b = splitmix()
  let c = splitmix()
  let d = splitmix()
  const nextUint32 = () => {
    const result = Math.imul(rotl(Math.imul(b, 5) >>> 0, 7), 9) >>> 0
    const t = (b << 9) >>> 0
    c ^= a
    d ^= b
    b = (b ^ c) >>> 0
    a = (a ^ d) >>> 0
    c = (c ^ t) >>> 0
    d = rotl(d >>> 0, 11)
    return result
  }
  const nextFloat = () => (nextUint32() >>> 8) / 0x100_0000
  let spare: number | undefined
  return {
    nextUint32,
    nextFloat,
    nextInt(bound) {
      const limit = 0x1_0000_0000 - (0x1_0000_0000 % bound)
      let x = nextUint32()
      while (x >= limit) x = nextUint32()
      return x % bound
    },
    nextNormal() {
      if (spare !== undefined) {
        const value = spare
        spare = undefined
        return value
      }
      const radius = Math.sqrt(-2 * Math.log(1 - nextFloat()))
      const angle = 2 * Math.PI * nextFloat()
      spare = radius * Math.sin(angle)
      return radius * Math.cos(angle)
    },
  }
}
