/**
 * Speed of each kernel in GiB/s of memory read and written, beside its plain TypeScript twin and a memcpy as the floor.
 * `node packages/simd/bench/kernels.bench.ts [elems]` after a build; medians of 15 rounds.
 */
import { lanes16 } from '@skein/core'
import { adamwTwin, addTwin, createSharedMemory, createSimd, SharedArena, sumSquaresTwin } from '@skein/simd'

const elems = Number(process.argv[2] ?? 65_536)
const arena = new SharedArena(createSharedMemory(4 * elems * 4 + 64))
const [p, m, v, g] = ['p', 'm', 'v', 'g'].map(name => arena.alloc(name, elems * 4))
if (p === undefined || m === undefined || v === undefined || g === undefined)
  throw new Error('four regions were allocated')
const simd = createSimd(arena.memory)
const view = { p: arena.float32(p), m: arena.float32(m), v: arena.float32(v), g: arena.float32(g) }
view.g.fill(1e-3)
const options = { lr: 3e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradScale: 1, step: 10 }
const bytes = new Uint8Array(arena.memory.buffer, p.byteOffset, elems * 4)
const at = { p: p.byteOffset, m: m.byteOffset, v: v.byteOffset, g: g.byteOffset }

/** name, streams of elems × 4 B read and written per call, ours, the twin. */
const cases: readonly [string, number, () => void, (() => void) | undefined][] = [
  ['memcpy (Uint8Array.set)', 2, () => view.m.set(view.p), undefined],
  ['copy', 2, () => simd.copy(at.m, at.p, elems), undefined],
  ['fill', 1, () => simd.fill(at.m, elems, 0), undefined],
  ['add', 3, () => simd.add(at.m, at.g, elems), () => addTwin(view.m, view.g)],
  ['scale', 2, () => simd.scale(at.m, elems, 1), undefined],
  ['sumSquares', 1, () => simd.sumSquares(at.g, elems), () => sumSquaresTwin(view.g)],
  ['hasNonFinite', 1, () => simd.hasNonFinite(at.g, elems), undefined],
  ['hash', 1, () => simd.hash(at.p, elems * 4), () => lanes16(bytes)],
  [
    'adamw',
    7,
    () => simd.adamw({ ...at, pOut: at.p, mOut: at.m, vOut: at.v, n: elems, ...options }),
    () => adamwTwin(view, options),
  ],
]

function medianMs(call: () => void, repeats: number): number {
  const times: number[] = []
  for (let round = 0; round < 15; round++) {
    const start = performance.now()
    for (let i = 0; i < repeats; i++) call()
    times.push((performance.now() - start) / repeats)
  }
  return times.sort((a, b) => a - b)[7] as number
}

for (const [name, streams, ours, twin] of cases) {
  const gib = (ms: number) => ((streams * elems * 4) / 2 ** 30 / (ms / 1e3)).toFixed(1)
  const fast = gib(medianMs(ours, Math.max(1, Math.ceil(2e6 / elems))))
  const slow = twin === undefined ? '' : `   twin ${gib(medianMs(twin, 1))}`
  console.log(`${name.padEnd(24)} ${fast.padStart(6)} GiB/s${slow}`)
}
