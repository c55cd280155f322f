import { seededRandom, type Shape } from '@skein/core'
import {
  createPortableDevice,
  createTensorFlowDevice,
  type KernelDevice,
  type Kernels,
  type KernelTensor,
  loadBinding,
  loadTfjs,
  releaseAll,
} from '@skein/device'
import { relativeL2 } from '@skein/testkit'
import { afterEach, describe, expect, it } from 'vitest'
import { flattenTree, unflattenTree } from '../tensor-tree.ts'
import { embeddingForward, embeddingWeightGrad } from './embedding.ts'
import { type HeadSaved, headForward, headInputGrad, headWeightGrad } from './head.ts'
import { layerNormForward, layerNormInputGrad } from './layer-norm.ts'
import {
  addToWords,
  embeddingShardForward,
  headShardForward,
  headShardInputGrad,
  headShardWeightGrad,
  lossSumOfRows,
  mergeRows,
  placesInLogits,
  tokensOfShard,
  vocabShards,
  wholeRows,
} from './sharded-vocab.ts'

/** B samples, T tokens, N = B·T, D width, V words. */
const [samples, tokens, width, vocab] = [3, 5, 8, 37]
const rows = samples * tokens
const sizes = { samples, tokens, width, vocab, context: tokens }
const tolerance = 1e-6

const devices: Record<string, () => KernelDevice> = {
  graph: () => createTensorFlowDevice({ binding: loadBinding(), kind: 'graph', precision: 'f32' }),
  raw: () => createTensorFlowDevice({ binding: loadBinding(), kind: 'raw', precision: 'f32' }),
  portable: () => createPortableDevice(loadTfjs()),
}
const open: KernelDevice[] = []
afterEach(() => {
  for (const device of open.splice(0)) {
    expect(device.ledger().liveTensors).toBe(0)
    device.dispose()
  }
})

interface Value {
  readonly shape: Shape
  readonly data: Float32Array | Int32Array
}
type Values = Readonly<Record<string, Value>>
type PassOf = <T extends KernelTensor>(k: Kernels<T>, x: Readonly<Record<string, T>>) => object

/** Runs passes on plain values. */
function runner(kind: string) {
  const device = (devices[kind] as () => KernelDevice)()
  open.push(device)
  return (inputs: Values, fn: PassOf): Record<string, Value> => {
    const given = Object.fromEntries(
      Object.entries(inputs).map(([name, { data, shape }]) => [name, device.upload(data, shape)]),
    )
    const pass = device.compile('test', given, (k, x) => flattenTree<(typeof x)[string]>('', fn(k, x)))
    const out = pass.run(given)
    const values = Object.entries(out).map(([name, tensor]) => {
      return [name.slice(1), { shape: tensor.shape, data: device.read(tensor) }] as const
    })
    releaseAll(out)
    releaseAll(given)
    pass.dispose()
    return Object.fromEntries(values)
  }
}

const random = seededRandom(23)
const floats = (shape: Shape, scale = 1): Value => {
  const data = Float32Array.from({ length: shape.reduce((n, dim) => n * dim, 1) }, () => scale * random.nextNormal())
  return { shape, data }
}
const column = (data: Float32Array): Value => ({ shape: [data.length, 1], data })
const floatsOf = (value: Value | undefined) => value?.data as Float32Array
const sum = (parts: readonly Float32Array[]) =>
  parts.reduce(
    (all, part) => all.map((value, i) => value + (part[i] as number)),
    new Float32Array(parts[0]?.length ?? 0),
  )
const joined = (parts: readonly Float32Array[]) => Float32Array.from(parts.flatMap(part => [...part]))

/** Each shard's inputs: its rows of wte, and ids as it knows them. */
function shardsOf(wte: Float32Array, ids: Int32Array, count: number) {
  return vocabShards(vocab, count).map(shard => {
    const own = tokensOfShard(ids, shard)
    const { start, size } = shard
    return {
      wte: { shape: [size, width], data: wte.slice(start * width, (start + size) * width) },
      ids: { shape: [rows], data: own.ids },
      mask: column(own.mask),
      places: { shape: [rows], data: placesInLogits(own, shard) },
    }
  })
}

const tokensOf = ({ ids, mask }: Values) => ({ ids: ids?.data as Int32Array, mask: floatsOf(mask) })

/** Loss, dx and the gradients of wte, gain and bias of the head in one piece. */
function wholeHead(run: ReturnType<typeof runner>, given: Values) {
  const f = run(given, (k, x) =>
    headForward(k, x['x']!, { gain: x['gain']!, bias: x['bias']!, wte: x['wte']! }, x['targets']!, tokens),
  )
  const b = run({ ...given, ...f }, (k, x) => {
    return headInputGrad(
      k,
      { gain: x['gain']!, wte: x['wte']! },
      unflattenTree<HeadSaved<(typeof x)[string]>>('saved', x),
    )
  })
  const w = run({ ...f, ...b }, (k, x) =>
    headWeightGrad(k, unflattenTree<HeadSaved<(typeof x)[string]>>('saved', x), x['dNorm']!),
  )
  return {
    lossSum: floatsOf(f['lossSum'])[0] as number,
    dx: floatsOf(b['dx']),
    dNorm: floatsOf(b['dNorm']),
    wte: floatsOf(w['wte']),
  }
}

/** The same from `count` shards: norm on one rank, S on each, the barrier, B and T. */
function shardedHead(run: ReturnType<typeof runner>, given: Values, count: number) {
  const norm = run(given, (k, x) => layerNormForward(k, x['x']!, x['gain']!, x['bias']!))
  const y = norm['y'] as Value
  const shards = shardsOf(floatsOf(given['wte']), given['targets']?.data as Int32Array, count).map((shard): Values => {
    const s = run({ y, ...shard }, (k, x) =>
      headShardForward(k, x['y']!, { ids: x['ids']!, mask: x['mask']!, places: x['places']! }, x['wte']!),
    )
    return { ...shard, ...s }
  })
  const merged = mergeRows(
    shards.map(shard => ({
      max: floatsOf(shard['max']),
      sum: floatsOf(shard['sum']),
      target: floatsOf(shard['target']),
    })),
  )
  const whole = wholeRows(merged)
  const barrier = { wholeMax: column(whole.max), inverseSum: column(whole.inverseSum) }
  const gradients = shards.map(shard => {
    const b = run({ ...shard, ...barrier }, (k, x) => {
      const all = { max: x['wholeMax']!, inverseSum: x['inverseSum']! }
      return {
        dNorm: headShardInputGrad(k, { max: x['max']!, pull: x['pull']!, targetRow: x['targetRow']! }, all, tokens),
      }
    })
    const t = run({ y, ...shard, ...barrier }, (k, x) => {
      const all = { max: x['wholeMax']!, inverseSum: x['inverseSum']! }
      const own = { max: x['max']!, exps: x['exps']! }
      return { wte: headShardWeightGrad(k, x['y']!, own, all, tokens) }
    })
    const gradient = floatsOf(t['wte']).slice()
    addToWords(gradient, floatsOf(y), tokensOf(shard), -1 / tokens)
    return { dNorm: floatsOf(b['dNorm']), wte: gradient }
  })
  const dNorm = sum(gradients.map(shard => shard.dNorm))
  const { dx } = run({ ...given, ...norm, dNorm: { shape: [rows, width], data: dNorm } }, (k, x) => {
    const saved = unflattenTree<{ xhat: (typeof x)[string]; rstd: (typeof x)[string] }>('saved', x)
    return { dx: layerNormInputGrad(k, x['dNorm']!, x['gain']!, saved) }
  })
  return {
    lossSum: lossSumOfRows(merged, tokens),
    dx: floatsOf(dx),
    dNorm,
    wte: joined(gradients.map(shard => shard.wte)),
  }
}

function expectEqual(found: ReturnType<typeof wholeHead>, expected: ReturnType<typeof wholeHead>) {
  expect(Math.abs(found.lossSum / expected.lossSum - 1)).toBeLessThan(tolerance)
  for (const name of ['dx', 'dNorm', 'wte'] as const) {
    expect(relativeL2(found[name], expected[name]), name).toBeLessThan(tolerance)
  }
}

const headInputs = (scale = 1): Values => ({
  x: floats([rows, width]),
  gain: floats([width]),
  bias: floats([width]),
  wte: floats([vocab, width], scale),
  targets: { shape: [rows], data: Int32Array.from({ length: rows }, () => random.nextInt(vocab)) },
})

describe('loss and gradients of a head in shards are those of the head', () => {
  const table = Object.keys(devices).flatMap(kind => [2, 3, 4].map(count => [kind, count] as const))
  it.each(table)('on %s kernels, %d shards', (kind, count) => {
    const run = runner(kind)
    const given = headInputs()
    expectEqual(shardedHead(run, given, count), wholeHead(run, given))
  })

  it('where one shard has all of the softmax, and logits are beyond what exp can take', () => {
    const run = runner('raw')
    const given = headInputs()
    const wte = floatsOf(given['wte'])
    for (let i = 30 * width; i < 31 * width; i++) wte[i] = 200 * (wte[i] as number)
    const found = shardedHead(run, given, 4)
    expect(found.dx.every(Number.isFinite)).toBe(true)
    expectEqual(found, wholeHead(run, given))
  })
})

it.each(Object.keys(devices))('a token embedding in shards is the embedding, forward and back, on %s kernels', kind => {
  const run = runner(kind)
  const ids = Int32Array.from({ length: rows }, () => random.nextInt(vocab))
  const given = { wte: floats([vocab, width]), wpe: { shape: [tokens, width], data: new Float32Array(tokens * width) } }
  const dx = floats([rows, width])
  const all = { ids: { shape: [rows], data: ids } }
  const forward = run({ ...given, ...all }, (k, x) => ({
    y: embeddingForward(k, x['ids']!, x['wte']!, x['wpe']!, sizes),
  }))
  const back = run({ dx, ...all }, (k, x) => embeddingWeightGrad(k, x['dx']!, x['ids']!, sizes))
  for (const count of [2, 3, 4]) {
    const shards = shardsOf(given.wte.data as Float32Array, ids, count).map(shard => {
      const { y } = run(shard, (k, x) => ({
        y: embeddingShardForward(k, { ids: x['ids']!, mask: x['mask']! }, x['wte']!),
      }))
      const gradient = new Float32Array(shard.wte.data.length)
      addToWords(gradient, floatsOf(dx), tokensOf(shard), 1)
      return { y: floatsOf(y), wte: gradient }
    })
    // Of each token all shards but one give zeros.
    expect(sum(shards.map(shard => shard.y))).toEqual(floatsOf(forward['y']))
    expect(relativeL2(joined(shards.map(shard => shard.wte)), floatsOf(back['wte']))).toBeLessThan(tolerance)
  }
})

it('shards are of nearly equal size, and each word is in one', () => {
  for (const count of [1, 2, 3, 4, 37]) {
    const shards = vocabShards(vocab, count)
    expect(shards.flatMap(({ start, size }) => Array.from({ length: size }, (_, i) => start + i))).toEqual(
      Array.from({ length: vocab }, (_, i) => i),
    )
    const counts = shards.map(({ size }) => size)
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
  }
})
