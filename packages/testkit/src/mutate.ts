import type { Random } from '@skein/core'

/** Values at which lengths, counts and signs go wrong. */
const edges = [0, 1, 0x7f, 0xff, 0x100, 0x7fff, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff]

/** How many inputs a fuzz test takes: `base`, times SKEIN_FUZZ_RUNS. */
export function fuzzRuns(base: number): number {
  return Math.ceil(base * Number(process.env['SKEIN_FUZZ_RUNS'] ?? 1))
}

/**
 * What a broken network or an enemy makes of one of the `samples`: up to four changes of bits, bytes, numbers, order and length, at most
 * `maxBytes` long. Always a new array; may be empty, and may be the sample as it was.
 */
export function mutate(random: Random, samples: readonly Uint8Array[], maxBytes: number): Uint8Array {
  let bytes = Uint8Array.from(pick(random, samples))
  for (let change = random.nextInt(5); change > 0; change--) {
    const at = random.nextInt(bytes.length + 1)
    const end = Math.min(bytes.length, at + random.nextInt(64))
    switch (random.nextInt(9)) {
      case 0:
        if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.nextInt(8))
        break
      case 1:
        for (let i = at; i < end; i++) bytes[i] = random.nextInt(256)
        break
      case 2:
        bytes.fill(pick(random, [0, 0xff, 0x20]), at, end)
        break
      case 3:
        // Little endian, at a place where a field may be.
        if (at + 4 <= bytes.length) new DataView(bytes.buffer).setUint32(at & ~3, pick(random, edges), true)
        break
      case 4:
        bytes = bytes.slice(0, at)
        break
      case 5:
        bytes = bytes.slice(at)
        break
      case 6:
        bytes = join(bytes.subarray(0, at), bytes.subarray(end))
        break
      case 7:
        bytes = join(bytes.subarray(0, end), bytes.subarray(at))
        break
      default:
        bytes = join(bytes.subarray(0, at), pick(random, samples), bytes.subarray(at))
    }
  }
  return bytes.length > maxBytes ? bytes.slice(0, maxBytes) : bytes
}

function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[random.nextInt(choices.length)] as T
}

function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    joined.set(part, at)
    at += part.length
  }
  return joined
}
