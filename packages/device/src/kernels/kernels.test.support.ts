import { numElements, seededRandom, type Shape } from '@skein/core'
import { maxAbsDifference } from '@skein/testkit'
import { afterAll, describe, expect, it } from 'vitest'
import { type KernelDevice, type PassFunction, releaseAll } from './kernel-device.ts'
import type { KernelTensor, Kernels } from './kernels.ts'
import * as plain from './plain-arrays.test.support.ts'

type Call = <T extends KernelTensor>(k: Kernels<T>, ...operands: T[]) => T
type Oracle = (...operands: plain.Plain[]) => plain.Plain
interface Case {
  readonly op: string
  /** Shapes of float32 operands; `ids` ones are int32 below `idsBelow`. */
  readonly shapes: readonly Shape[]
  readonly idsAt?: number
  readonly idsBelow?: number
  readonly call: Call
  readonly oracle: Oracle
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
const matrix: Shape = [7, 5]

const unary = (
  op: 'square' | 'exp' | 'rowMax' | 'sigmoid' | 'softmax' | 'logSoftmax' | 'rowMean' | 'rowSum',
  oracle: Oracle,
): Case[] => [matrix, [2, 3, 4, 5]].map(shape => ({ op, shapes: [shape], call: (k, x) => k[op](x), oracle }))

const binary = (op: 'add' | 'sub' | 'mul', f: (a: number, b: number) => number): Case[] =>
  [
    [matrix, matrix],
    [matrix, [5]],
    [matrix, [7, 1]],
    [
      [2, 3, 4, 4],
      [1, 1, 4, 4],
    ],
  ].map(shapes => ({ op, shapes, call: (k, a, b) => k[op](a, b), oracle: (...xs) => plain.elementwise(f, ...xs) }))

const products = (op: 'matMul' | 'batchMatMul', leading: Shape): Case[] =>
  [false, true].flatMap(transposeA =>
    [false, true].map(transposeB => ({
      op: `${op}${transposeA ? ' aT' : ''}${transposeB ? ' bT' : ''}`,
      shapes: [
        [...leading, ...(transposeA ? [4, 3] : [3, 4])],
        [...leading, ...(transposeB ? [5, 4] : [4, 5])],
      ],
      call: (k, a, b) => k[op](a, b, { transposeA, transposeB }),
      oracle: (a, b) => plain.product(a, b, transposeA, transposeB),
    })),
  )

const cases: readonly Case[] = [
  ...binary('add', (a, b) => a + b),
  ...binary('sub', (a, b) => a - b),
  ...binary('mul', (a, b) => a * b),
  ...products('matMul', []),
  ...products('batchMatMul', [2, 3]),
  ...unary('square', x => plain.elementwise(v => v * v, x)),
  ...unary('exp', x => plain.elementwise(Math.exp, x)),
  ...unary('rowMax', plain.rowMax),
  ...unary('sigmoid', x => plain.elementwise(sigmoid, x)),
  ...unary('softmax', x => plain.elementwise(Math.exp, plain.logSoftmax(x))),
  ...unary('logSoftmax', plain.logSoftmax),
  ...unary('rowMean', plain.rowMean),
  ...unary('rowSum', plain.rowSum),
  {
    op: 'scale',
    shapes: [matrix],
    call: (k, x) => k.scale(x, -2.5),
    oracle: x => plain.elementwise(v => -2.5 * v, x),
  },
  { op: 'shift', shapes: [matrix], call: (k, x) => k.shift(x, 0.5), oracle: x => plain.elementwise(v => v + 0.5, x) },
  {
    op: 'rsqrt',
    shapes: [matrix],
    call: (k, x) => k.rsqrt(k.shift(k.square(x), 0.1)),
    oracle: x => plain.elementwise(v => 1 / Math.sqrt(v * v + 0.1), x),
  },
  {
    op: 'sigmoidGrad',
    shapes: [matrix, matrix],
    call: (k, x, dy) => k.sigmoidGrad(k.sigmoid(x), dy),
    oracle: (x, dy) => plain.elementwise((v, d) => d * sigmoid(v) * (1 - sigmoid(v)), x, dy),
  },
  {
    op: 'biasAdd',
    shapes: [matrix, [5]],
    call: (k, x, b) => k.biasAdd(x, b),
    oracle: (...xs) => plain.elementwise((a, b) => a + b, ...xs),
  },
  { op: 'columnSum', shapes: [matrix], call: (k, x) => k.columnSum(x), oracle: plain.firstDimSum },
  { op: 'firstDimSum', shapes: [[3, 4, 5]], call: (k, x) => k.firstDimSum(x), oracle: plain.firstDimSum },
  {
    op: 'reshape and transpose',
    shapes: [[6, 20]],
    call: (k, x) => k.transpose(k.reshape(x, [2, 3, 4, 5]), [2, 0, 3, 1]),
    oracle: x => plain.transpose({ shape: [2, 3, 4, 5], data: x.data }, [2, 0, 3, 1]),
  },
  {
    op: 'unpack and pack',
    shapes: [[3, 4, 5]],
    call: (k, x) => {
      const [a, b, c] = k.unpack(x)
      if (a === undefined || b === undefined || c === undefined) throw new Error('unpack gave too few parts')
      return k.pack([c, a, b, a])
    },
    oracle: x => plain.build([4, 4, 5], ([i, ...rest]) => plain.at(x, [[2, 0, 1, 0][i as number] as number, ...rest])),
  },
  {
    op: 'concat',
    shapes: [
      [2, 3, 4],
      [2, 1, 4],
      [2, 3, 4],
    ],
    call: (k, ...parts) => k.concat(parts, 1),
    oracle: (...parts) => plain.concat(parts, 1),
  },
  {
    op: 'split and concat',
    shapes: [[2, 6, 4]],
    call: (k, x) => {
      const [a, b, c] = k.split(x, [1, 3, 2], 1)
      if (a === undefined || b === undefined || c === undefined) throw new Error('split gave too few parts')
      return k.concat([c, b, a, b], 1)
    },
    oracle: x =>
      plain.build([2, 9, 4], ([i, j, l]) => plain.at(x, [i, [4, 5, 1, 2, 3, 0, 1, 2, 3][j as number], l] as number[])),
  },
  {
    op: 'gatherRows',
    shapes: [[6, 4], [9]],
    idsAt: 1,
    idsBelow: 6,
    call: (k, table, ids) => k.gatherRows(table, ids),
    oracle: plain.gatherRows,
  },
  {
    op: 'segmentSum',
    shapes: [[9, 4], [9]],
    idsAt: 1,
    idsBelow: 5,
    call: (k, x, ids) => k.segmentSum(x, ids, 6),
    oracle: (x, ids) => plain.segmentSum(x, ids, 6),
  },
  {
    op: 'oneHot',
    shapes: [[9]],
    idsAt: 0,
    idsBelow: 6,
    call: (k, ids) => k.oneHot(ids, 6),
    oracle: ids => plain.build([9, 6], ([i, j]) => (ids.data[i as number] === j ? 1 : 0)),
  },
  {
    op: 'softmaxCrossEntropy loss',
    shapes: [[9, 6], [9]],
    idsAt: 1,
    idsBelow: 6,
    call: (k, logits, labels) => k.softmaxCrossEntropy(logits, labels).loss,
    oracle: (logits, labels) =>
      plain.build([9], ([i]) => -plain.at(plain.logSoftmax(logits), [i as number, labels.data[i as number] as number])),
  },
  {
    op: 'softmaxCrossEntropy gradient',
    shapes: [[9, 6], [9]],
    idsAt: 1,
    idsBelow: 6,
    call: (k, logits, labels) => k.softmaxCrossEntropy(logits, labels).gradient,
    oracle: (logits, labels) =>
      plain.build(
        [9, 6],
        ([i, j]) =>
          Math.exp(plain.at(plain.logSoftmax(logits), [i as number, j as number])) -
          (labels.data[i as number] === j ? 1 : 0),
      ),
  },
  {
    op: 'constant and indices',
    shapes: [matrix],
    call: (k, x) =>
      k.add(
        k.gatherRows(x, k.indices([6, 0, 6], [3])),
        k.constant(
          Float32Array.from({ length: 15 }, (_, i) => i),
          [3, 5],
        ),
      ),
    oracle: x =>
      plain.build([3, 5], ([i, j]) => plain.at(x, [i === 1 ? 0 : 6, j as number]) + 5 * (i as number) + (j as number)),
  },
]

/** What every implementation of `Kernels` and `KernelDevice` must do. Operands are of the order of 1, so 1e-5 is a few float32 roundings. */
export function describeKernels(name: string, open: () => Promise<KernelDevice>): void {
  describe(`kernels: ${name}`, async () => {
    const device = await open()
    afterAll(() => device.dispose())
    const random = seededRandom(17)
    const floats = (shape: Shape) => Float32Array.from({ length: numElements(shape) }, () => random.nextNormal())

    const run = (fn: PassFunction, operands: readonly (Float32Array | Int32Array)[], shapes: readonly Shape[]) => {
      const before = device.ledger()
      const uploaded = Object.fromEntries(
        operands.map((data, i) => [`x${i}`, device.upload(data, shapes[i] as Shape)] as const),
      )
      const pass = device.compile('test', uploaded, fn)
      const out = pass.run(uploaded)
      const results = Object.entries(out).map(([key, tensor]) => {
        return [key, { shape: [...tensor.shape], data: [...device.read(tensor)] }] as const
      })
      releaseAll(out)
      releaseAll(uploaded)
      pass.dispose()
      expect(device.ledger()).toMatchObject({ liveTensors: before.liveTensors, liveBytes: before.liveBytes })
      return Object.fromEntries(results)
    }

    it.each(cases.map(c => [`${c.op} of ${c.shapes.map(s => `[${s.join()}]`).join(' and ')}`, c] as const))(
      '%s',
      (_, { shapes, idsAt, idsBelow = 0, call, oracle }) => {
        const operands = shapes.map((shape, i) =>
          i === idsAt ? Int32Array.from({ length: numElements(shape) }, () => random.nextInt(idsBelow)) : floats(shape),
        )
        const { y } = run((k, inputs) => ({ y: call(k, ...Object.values(inputs)) }), operands, shapes)
        const expected = oracle(...operands.map((data, i) => ({ shape: shapes[i] as Shape, data: [...data] })))
        expect(y?.shape).toEqual([...expected.shape])
        expect(maxAbsDifference(y?.data ?? [], expected.data)).toBeLessThan(1e-5)
      },
    )

    it('returns an input as it is, and one result under two names, each with an owner', () => {
      const x = floats([4])
      const out = run(
        (k, { x0 }) => {
          if (x0 === undefined) throw new Error('no input')
          const y = k.square(x0)
          return { same: x0, y, again: y }
        },
        [x],
        [[4]],
      )
      expect(out['same']?.data).toEqual([...x])
      expect(out['again']).toEqual(out['y'])
    })

    it('adds into a flat buffer, or stores', () => {
      const tensor = device.upload(Float32Array.of(1, 2, 3), [3])
      const out = Float32Array.of(10, 20, 30)
      device.readInto(tensor, out, true)
      expect([...out]).toEqual([11, 22, 33])
      device.readInto(tensor, out, false)
      expect([...out]).toEqual([1, 2, 3])
      device.release(tensor)
    })

    it('refuses shapes that do not fit when the pass is compiled', () => {
      const specs = { a: { shape: [2, 3] }, b: { shape: [4, 5] } }
      const fits: PassFunction = (k, { a, b }) => ({ y: k.matMul(a as never, b as never) })
      expect(() => device.compile('bad', specs, fits)).toThrow(
        expect.objectContaining({
          code: 'SKEIN_DEVICE_KERNEL_SHAPE',
          details: expect.objectContaining({ op: 'MatMul' }),
        }),
      )
    })

    it('refuses parts that do not fit together', () => {
      const specs = { a: { shape: [2, 3] }, b: { shape: [4, 5] } }
      const wrong: readonly PassFunction[] = [
        (k, { a, b }) => ({ y: k.concat([a as never, b as never], 0) }),
        (k, { a }) => ({ y: k.concat([a as never], 2) }),
        (k, { a }) => ({ y: k.split(a as never, [1, 1], 1)[0] as never }),
      ]
      for (const fn of wrong) {
        expect(() => device.compile('bad', specs, fn)).toThrow(
          expect.objectContaining({ code: 'SKEIN_DEVICE_KERNEL_SHAPE' }),
        )
      }
    })

    it('knows which inputs a pass reads, and needs no others', () => {
      const specs = { a: { shape: [2] }, b: { shape: [2] }, c: { shape: [2] }, d: { shape: [2] } }
      const pass = device.compile('reads', specs, (k, { a, c, d }) => {
        if (a === undefined) throw new Error('no input')
        const unread = c === undefined ? {} : { c: k.square(a) }
        return { y: k.square(a), ...unread, same: d as never }
      })
      expect(pass.reads).toEqual(['a', 'd'])
      const a = device.upload(Float32Array.of(1, 2), [2])
      const { y, ...others } = pass.run({ a, d: a })
      expect([...device.read(y as never)]).toEqual([1, 4])
      releaseAll([a, y as never, ...Object.values(others)])
      pass.dispose()
    })

    it('refuses to release a tensor twice', () => {
      const tensor = device.upload(Float32Array.of(1), [1])
      device.release(tensor)
      expect(() => device.release(tensor)).toThrow(expect.objectContaining({ code: 'SKEIN_INTERNAL' }))
    })

    it('holds no more after a hundred runs than after one', () => {
      const x = device.upload(floats([8, 8]), [8, 8])
      const pass = device.compile('grow', { x: { shape: [8, 8] } }, (k, { x: input }) => {
        if (input === undefined) throw new Error('no input')
        return { y: k.softmax(k.add(k.matMul(input, input), k.constant(maskOf64, [8, 8]))) }
      })
      const once = () => releaseAll(pass.run({ x }))
      once()
      const { backendTensors } = device.ledger()
      for (let i = 0; i < 100; i++) once()
      expect(device.ledger().backendTensors).toBe(backendTensors)
      device.release(x)
      pass.dispose()
    })
  })
}

const maskOf64 = Float32Array.from({ length: 64 }, (_, i) => i / 64)
