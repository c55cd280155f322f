import { numElements, seededRandom } from '@skein/core'
import { relativeL2 } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { loadBinding, loadTfjs } from '../runtime/load.ts'
import { describeKernels } from './kernels.test.support.ts'
import { releaseAll } from './kernel-device.ts'
import { createPortableDevice } from './portable-device.ts'
import { createTensorFlowDevice } from './tensorflow-device.ts'
import { traceGraph } from './trace-graph.ts'

type SharedMemoryClass = new (o: { initial: number; maximum: number; shared: true }) => { buffer: SharedArrayBuffer }
const binding = loadBinding()
describeKernels('graph', async () => createTensorFlowDevice({ binding, kind: 'graph', precision: 'f32' }))
describeKernels('raw', async () => createTensorFlowDevice({ binding, kind: 'raw', precision: 'f32' }))
describeKernels('portable on tensorflow', async () => createPortableDevice(loadTfjs()))

describe('bf16 products', () => {
  const random = seededRandom(5)
  const floats = (shape: readonly number[]) =>
    Float32Array.from({ length: numElements(shape) }, () => random.nextNormal())
  const [a, b] = [floats([64, 96]), floats([96, 32])]

  // Three roundings (a, b, the result), each of at most 2^-8 of the value: bfloat16 has 8 significant bits.
  it.each(['graph', 'raw'] as const)('differ from f32 by rounding alone: %s', kind => {
    const [exact, rounded] = (['f32', 'bf16'] as const).map(precision => {
      const device = createTensorFlowDevice({ binding, kind, precision })
      const inputs = { a: device.upload(a, [64, 96]), b: device.upload(b, [96, 32]) }
      const pass = device.compile('product', inputs, (k, x) => ({ y: k.matMul(x['a'] as never, x['b'] as never) }))
      const out = pass.run(inputs)
      const values = device.read(out['y'] as never)
      releaseAll(out)
      releaseAll(inputs)
      device.dispose()
      return values
    })
    const error = relativeL2(rounded ?? [], exact ?? [])
    expect(error).toBeLessThan(3 * 2 ** -8)
    expect(error).toBeGreaterThan(2 ** -12)
  })

  it('are refused where no kernel has them', () => {
    expect(() => createPortableDevice(loadTfjs(), 'bf16')).toThrow(
      expect.objectContaining({ code: 'SKEIN_DEVICE_PRECISION_UNSUPPORTED' }),
    )
  })
})

describe('a traced graph', () => {
  it('feeds only the inputs that are read and holds each small constant once', () => {
    const specs = { used: { shape: [2, 2] }, unused: { shape: [3] } }
    const traced = traceGraph(specs, 'f32', (k, { used }) => {
      if (used === undefined) throw new Error('no input')
      return { y: k.scale(k.scale(used, 3), 3) }
    })
    expect(traced.feeds.map(([name]) => name)).toEqual(['used'])
    expect(traced.nodes.map(node => node.op)).toEqual(['Const', 'Mul', 'Mul'])
  })
})

describe('memory shared with TensorFlow', () => {
  it('is taken without a copy where it is aligned to 64 bytes', () => {
    const device = createTensorFlowDevice({ binding, kind: 'raw', precision: 'f32' })
    // Memory of WebAssembly begins at a page; a plain SharedArrayBuffer may begin anywhere.
    const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: SharedMemoryClass } }).WebAssembly
    const { buffer } = new Memory({ initial: 1, maximum: 1, shared: true })
    const aligned = new Float32Array(buffer, 64, 16).fill(1)
    const tensor = device.upload(aligned, [16])
    aligned.fill(2)
    expect(device.read(tensor)[0]).toBe(2)
    device.release(tensor)
    device.dispose()
  })
})
