/**
 * GiB/s of float32 through each codec, beside its plain twin: encoding, and decoding with an addition. After a build:
 *
 *     node packages/codec/bench/codec.bench.ts [--json]
 */
import { codecNames, codecs, decodeTwin, encodeTwin } from '@skein/codec'
import { createSharedMemory, createSimd, SharedArena } from '@skein/simd'

const elems = 1 << 18
const arena = new SharedArena(createSharedMemory(4 * elems * 4))
const simd = createSimd(arena.memory)
const source = arena.float32(arena.alloc('source', elems * 4))
const target = arena.float32(arena.alloc('target', elems * 4))
const encoded = arena.alloc('encoded', elems * 4)
for (let i = 0; i < elems; i++) source[i] = Math.sin(i * 12.9898) * 43.5

/** Median GiB/s of float32. */
function speed(run: () => void, rounds: number): number {
  const times = Array.from({ length: rounds }, () => {
    const start = performance.now()
    run()
    return performance.now() - start
  })
  times.sort((a, b) => a - b)
  return (elems * 4) / 2 ** 30 / ((times[rounds >> 1] as number) / 1000)
}

for (const name of codecNames) {
  const plain = Float32Array.from(source)
  const { bytes } = encodeTwin(name, plain)
  const cases = [
    ['encode', () => simd.encode(name, encoded.byteOffset, source.byteOffset, 0, elems), () => encodeTwin(name, plain)],
    [
      'decode and add',
      () => simd.decode(name, target.byteOffset, encoded.byteOffset, elems, true),
      () => decodeTwin(name, bytes, elems),
    ],
  ] as const
  for (const [what, kernel, twin] of cases) {
    const [ours, peer] = [speed(kernel, 301), speed(twin, 11)]
    if (process.argv.includes('--json')) {
      const row = {
        bench: 'codec',
        case: `${name} ${what}`,
        unit: 'GiB/s',
        ours,
        peer: { name: 'plain twin', value: peer },
      }
      console.log(JSON.stringify({ ...row, floor: null, ratio: ours / peer }))
    } else
      console.log(
        `${name} ${what}: ${ours.toFixed(1)} GiB/s, plain ${peer.toFixed(2)}; ${(codecs[name].encodedBytes(elems) / elems).toFixed(3)} B an element`,
      )
  }
}
