/**
 * Speed of each kernel in GiB/s of its elements as float32 (of their own bytes for reductions), beside its plain TypeScript twin and
 * a memcpy of float32. `node packages/codec/bench/codec-kernels.bench.ts [elems]` after a build; medians of 15 rounds.
 */
import { codecs, codecTwin, createCodecKernels, reduceTwin } from '@skein/codec'
import { seededRandom } from '@skein/core'
import { createSharedMemory, SharedArena } from '@skein/simd'

const elems = Number(process.argv[2] ?? 65_536)
const arena = new SharedArena(createSharedMemory(4 * elems * 4 + 256))
const [x, y, wire, residual] = ['x', 'y', 'wire', 'residual'].map(name => arena.alloc(name, elems * 4))
if (x === undefined || y === undefined || wire === undefined || residual === undefined)
  throw new Error('four regions were allocated')
const random = seededRandom(1)
const data = Float32Array.from({ length: elems }, () => random.nextNormal() * 1e-3)
arena.float32(x).set(data)
const kernels = createCodecKernels(arena.memory)
const bytes = new Uint8Array(arena.memory.buffer, wire.byteOffset, elems * 4)
const slow = { x: data.slice(), y: data.slice() }

function medianMs(call: () => void, repeats: number): number {
  const times: number[] = []
  for (let round = 0; round < 15; round++) {
    const start = performance.now()
    for (let i = 0; i < repeats; i++) call()
    times.push((performance.now() - start) / repeats)
  }
  return times.sort((a, b) => a - b)[7] as number
}

function report(name: string, size: number, ours: () => void, twin?: () => void): void {
  const gib = (ms: number) => (size / 2 ** 30 / (ms / 1e3)).toFixed(2).padStart(7)
  const fast = gib(medianMs(ours, Math.max(1, Math.ceil(1e6 / elems))))
  console.log(`${name.padEnd(24)} ${fast} GiB/s${twin === undefined ? '' : `   twin ${gib(medianMs(twin, 1))}`}`)
}

const [at, to, out, rest] = [x.byteOffset, y.byteOffset, wire.byteOffset, residual.byteOffset]
report('memcpy', elems * 4, () => arena.float32(y).set(arena.float32(x)))
for (const { name } of codecs) {
  const kernel = kernels.codec(name)
  const twin = codecTwin(name)
  report(
    `${name} encode`,
    elems * 4,
    () => kernel.encode(out, at, elems),
    () => twin.encode(bytes, slow.x),
  )
  report(`${name} encodeResidual`, elems * 4, () => kernel.encodeResidual(out, at, rest, elems))
  report(
    `${name} decode`,
    elems * 4,
    () => kernel.decode(to, out, elems),
    () => twin.decode(slow.y, bytes),
  )
  report(
    `${name} decodeAdd`,
    elems * 4,
    () => kernel.decodeAdd(to, out, elems),
    () => twin.decodeAdd(slow.y, bytes),
  )
}
const [halves, others] = [new Uint16Array(elems).fill(0x3c00), new Uint16Array(elems).fill(0x3800)]
for (const op of ['sum', 'max'] as const) {
  for (const dtype of ['float32', 'int32'] as const)
    report(`${op} ${dtype}`, elems * 4, () => kernels.reduce(op, dtype, to, at, elems))
  for (const dtype of ['float16', 'bfloat16'] as const)
    report(
      `${op} ${dtype}`,
      elems * 2,
      () => kernels.reduce(op, dtype, to, at, elems),
      () => reduceTwin(op, dtype, halves, others),
    )
}
