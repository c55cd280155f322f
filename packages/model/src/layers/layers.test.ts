import { numElements, seededRandom, type Shape } from '@skein/core'
import {
  createTensorFlowDevice,
  type Kernels,
  type KernelTensor,
  loadBinding,
  loadTfjs,
  releaseAll,
} from '@skein/device'
import { relativeL2 } from '@skein/testkit'
import { afterAll, describe, expect, it } from 'vitest'
import { plainLayers, plainLossSum, type Tensor } from '../plain-gpt2.test.support.ts'
import { flattenTree, unflattenTree } from '../tensor-tree.ts'
import { type AttentionSaved, attentionForward, attentionInputGrad } from './attention.ts'
import {
  type BlockInnerGrads,
  type BlockParams,
  type BlockSaved,
  blockForward,
  blockInputGrad,
  blockParamNames,
  blockWeightGrad,
} from './block.ts'
import { embeddingForward, embeddingWeightGrad } from './embedding.ts'
import { type GeluSaved, geluForward, geluInputGrad } from './gelu.ts'
import { type HeadSaved, headForward, headInputGrad, headWeightGrad } from './head.ts'
import { type LayerNormSaved, layerNormForward, layerNormInputGrad, layerNormWeightGrad } from './layer-norm.ts'
import { linearForward, linearInputGrad, linearWeightGrad } from './linear.ts'

/** Shapes: B samples, T tokens, H heads, D = H·K, N = B·T. */
const [samples, tokens, heads, width, vocab] = [3, 5, 2, 8, 11]
const rows = samples * tokens
const sizes = { samples, tokens, heads, width, vocab, context: tokens }

// Central differences of float32 are no better than 1e-3; tfjs's autodiff of the plain formulas is exact to rounding.
const tolerance = 2e-5

const tf = loadTfjs()
const device = createTensorFlowDevice({ binding: loadBinding(), kind: 'raw', precision: 'f32' })
const plain = plainLayers(tf)
const random = seededRandom(3)
afterAll(() => device.dispose())

type Values = Record<string, { readonly shape: Shape; readonly data: Float32Array | Int32Array }>
type PassOf = <T extends KernelTensor>(k: Kernels<T>, x: Readonly<Record<string, T>>) => Record<string, T>

const floats = (shape: Shape) => ({
  shape,
  data: Float32Array.from({ length: numElements(shape) }, () => random.nextNormal()),
})
const ids = (below: number) => ({
  shape: [rows],
  data: Int32Array.from({ length: rows }, () => random.nextInt(below)),
})

/** Runs a pass of ours on plain values: each call is its own pass, so B and W meet only through what they return. */
function run(inputs: Values, fn: PassOf): Values {
  const uploaded = Object.fromEntries(Object.entries(inputs).map(([name, x]) => [name, device.upload(x.data, x.shape)]))
  const pass = device.compile('layer', uploaded, fn)
  const out = pass.run(uploaded)
  const values = Object.fromEntries(
    Object.entries(out).map(([name, tensor]) => [name, { shape: tensor.shape, data: device.read(tensor) }]),
  )
  releaseAll(out)
  releaseAll(uploaded)
  pass.dispose()
  return values
}

/** y and the gradients of Σ y·dy with respect to `inputs`, by tfjs's autodiff. */
function autodiff(inputs: Values, dy: Float32Array | undefined, fn: (x: Record<string, Tensor>) => Tensor): Values {
  return tf.tidy(() => {
    const names = Object.keys(inputs)
    const tensors = names.map(name => tf.tensor(inputs[name]?.data as Float32Array, [...(inputs[name]?.shape ?? [])]))
    const named = (list: Tensor[]) => Object.fromEntries(list.map((tensor, i) => [names[i] as string, tensor]))
    const y = fn(named(tensors))
    const weighted = (...list: Tensor[]) => {
      const out = fn(named(list))
      return dy === undefined ? out : tf.sum(tf.mul(out, tf.tensor(dy, out.shape)))
    }
    const gradients = tf.grads(weighted)(tensors)
    const read = (tensor: Tensor) => ({ shape: tensor.shape, data: tensor.dataSync() as Float32Array })
    return { y: read(y), ...Object.fromEntries(gradients.map((tensor, i) => [`d ${names[i]}`, read(tensor)])) }
  })
}

function expectEqual(ours: Values, name: string, expected: Values, expectedName = name): void {
  const [a, b] = [ours[name], expected[expectedName]]
  expect(a?.shape, name).toEqual(b?.shape)
  expect(relativeL2(a?.data ?? [], b?.data ?? []), name).toBeLessThan(tolerance)
}

describe("each layer's forward, input gradient and weight gradient equal tfjs's autodiff", () => {
  it('layer norm', () => {
    const given: Values = { x: floats([rows, width]), gain: floats([width]), bias: floats([width]) }
    const dy = floats([rows, width])
    const expected = autodiff(given, dy.data as Float32Array, x => plain.layerNorm(x['x']!, x['gain']!, x['bias']!))
    const f = run(given, (k, x) => {
      const { y, saved } = layerNormForward(k, x['x']!, x['gain']!, x['bias']!)
      return { y, ...saved }
    })
    expectEqual(f, 'y', expected)
    const b = run({ ...f, ...given, dy }, (k, x) => ({
      dx: layerNormInputGrad(k, x['dy']!, x['gain']!, x as unknown as LayerNormSaved<(typeof x)[string]>),
    }))
    expectEqual(b, 'dx', expected, 'd x')
    const w = run({ ...f, dy }, (k, x) => layerNormWeightGrad(k, x['dy']!, x['xhat']!))
    expectEqual(w, 'weight', expected, 'd gain')
    expectEqual(w, 'bias', expected, 'd bias')
  })

  it('linear', () => {
    const given: Values = { x: floats([rows, 6]), weight: floats([6, 4]), bias: floats([4]) }
    const dy = floats([rows, 4])
    const expected = autodiff(given, dy.data as Float32Array, x => plain.linear(x['x']!, x['weight']!, x['bias']!))
    expectEqual(
      run(given, (k, x) => ({ y: linearForward(k, x['x']!, x['weight']!, x['bias']!) })),
      'y',
      expected,
    )
    const b = run({ ...given, dy }, (k, x) => ({ dx: linearInputGrad(k, x['dy']!, x['weight']!) }))
    expectEqual(b, 'dx', expected, 'd x')
    const w = run({ ...given, dy }, (k, x) => linearWeightGrad(k, x['x']!, x['dy']!))
    expectEqual(w, 'weight', expected, 'd weight')
    expectEqual(w, 'bias', expected, 'd bias')
  })

  it('GELU', () => {
    const given: Values = { z: floats([rows, width]) }
    const dy = floats([rows, width])
    const expected = autodiff(given, dy.data as Float32Array, x => plain.gelu(x['z']!))
    const f = run(given, (k, x) => {
      const { y, saved } = geluForward(k, x['z']!)
      return { y, ...saved }
    })
    expectEqual(f, 'y', expected)
    const b = run({ ...f, dy }, (k, x) => ({
      dz: geluInputGrad(k, x['dy']!, x as unknown as GeluSaved<(typeof x)[string]>),
    }))
    expectEqual(b, 'dz', expected, 'd z')
  })

  it('causal attention', () => {
    const given: Values = { qkv: floats([rows, 3 * width]) }
    const dy = floats([rows, width])
    const expected = autodiff(given, dy.data as Float32Array, x => plain.attention(x['qkv']!, samples, tokens, heads))
    const f = run(given, (k, x) => {
      const { y, saved } = attentionForward(k, x['qkv']!, sizes)
      return { y, ...saved }
    })
    expectEqual(f, 'y', expected)
    const b = run({ ...f, dy }, (k, x) => ({
      dqkv: attentionInputGrad(k, x['dy']!, x as unknown as AttentionSaved<(typeof x)[string]>, sizes).dQkv,
    }))
    expectEqual(b, 'dqkv', expected, 'd qkv')
  })

  it('block', () => {
    const shapes: Readonly<Record<string, Shape>> = {
      'attn.c_attn.weight': [width, 3 * width],
      'attn.c_attn.bias': [3 * width],
      'attn.c_proj.weight': [width, width],
      'mlp.c_fc.weight': [width, 4 * width],
      'mlp.c_fc.bias': [4 * width],
      'mlp.c_proj.weight': [4 * width, width],
    }
    const params: Values = Object.fromEntries(blockParamNames.map(name => [name, floats(shapes[name] ?? [width])]))
    const given: Values = { ...params, x: floats([rows, width]) }
    const dy = floats([rows, width])
    const expected = autodiff(given, dy.data as Float32Array, ({ x, ...w }) =>
      plain.block(x!, w, samples, tokens, heads),
    )
    const f = run(given, (k, x) => {
      const { y, saved } = blockForward(k, x['x']!, x as unknown as BlockParams<(typeof x)[string]>, sizes)
      return { y, ...flattenTree<typeof y>('saved', saved) }
    })
    expectEqual(f, 'y', expected)
    const b = run({ ...f, ...params, dy }, (k, x) => {
      type T = (typeof x)[string]
      const saved = unflattenTree<BlockSaved<T>>('saved', x)
      const { dx, inner } = blockInputGrad(k, x['dy']!, x as unknown as BlockParams<T>, saved, sizes)
      return { dx, ...flattenTree<T>('inner', inner) }
    })
    expectEqual(b, 'dx', expected, 'd x')
    const w = run({ ...f, ...b }, (k, x) => {
      type T = (typeof x)[string]
      const saved = unflattenTree<BlockSaved<T>>('saved', x)
      return blockWeightGrad(k, saved, unflattenTree<BlockInnerGrads<T>>('inner', x))
    })
    for (const name of blockParamNames) expectEqual(w, name, expected, `d ${name}`)
  })

  it('embeddings', () => {
    const given: Values = { wte: floats([vocab, width]), wpe: floats([tokens, width]) }
    const tokenIds = ids(vocab)
    const dy = floats([rows, width])
    const expected = autodiff(given, dy.data as Float32Array, x => {
      const found = tf.gather(x['wte']!, tf.tensor1d(tokenIds.data as Int32Array, 'int32'))
      return tf.reshape(tf.add(tf.reshape(found, [samples, tokens, width]), x['wpe']!), [rows, width])
    })
    const f = run({ ...given, ids: tokenIds }, (k, x) => ({
      y: embeddingForward(k, x['ids']!, x['wte']!, x['wpe']!, sizes),
    }))
    expectEqual(f, 'y', expected)
    const w = run({ dy, ids: tokenIds }, (k, x) => embeddingWeightGrad(k, x['dy']!, x['ids']!, sizes))
    expectEqual(w, 'wte', expected, 'd wte')
    expectEqual(w, 'wpe', expected, 'd wpe')
  })

  it('final norm, tied head and loss', () => {
    const given: Values = {
      x: floats([rows, width]),
      gain: floats([width]),
      bias: floats([width]),
      wte: floats([vocab, width]),
    }
    const targets = ids(vocab)
    const expected = autodiff(given, undefined, x => {
      const normed = plain.layerNorm(x['x']!, x['gain']!, x['bias']!)
      const labels = tf.oneHot(tf.tensor1d(targets.data as Int32Array, 'int32'), vocab)
      const mean = tf.losses.softmaxCrossEntropy(labels, tf.matMul(normed, x['wte']!, false, true))
      return tf.mul(mean, samples)
    })
    const f = run({ ...given, targets }, (k, x) => {
      const head = { gain: x['gain']!, bias: x['bias']!, wte: x['wte']! }
      const { lossSum, saved } = headForward(k, x['x']!, head, x['targets']!, tokens)
      return { y: lossSum, ...flattenTree<typeof lossSum>('saved', saved) }
    })
    expectEqual(f, 'y', expected)
    const b = run({ ...given, ...f }, (k, x) => {
      const saved = unflattenTree<HeadSaved<(typeof x)[string]>>('saved', x)
      return headInputGrad(k, { gain: x['gain']!, wte: x['wte']! }, saved)
    })
    expectEqual(b, 'dx', expected, 'd x')
    const w = run({ ...f, ...b }, (k, x) => {
      return headWeightGrad(k, unflattenTree<HeadSaved<(typeof x)[string]>>('saved', x), x['dNorm']!)
    })
    expectEqual(w, 'gain', expected, 'd gain')
    expectEqual(w, 'bias', expected, 'd bias')
    expectEqual(w, 'wte', expected, 'd wte')
  })
})

it('a sequence shorter than the context sees its own positions only', () => {
  const short = { ...sizes, tokens: 3, context: tokens }
  const given: Values = {
    ids: { shape: [samples * 3], data: Int32Array.from({ length: samples * 3 }, (_, i) => i % vocab) },
    wte: floats([vocab, width]),
    wpe: floats([tokens, width]),
  }
  const { y } = run(given, (k, x) => ({ y: embeddingForward(k, x['ids']!, x['wte']!, x['wpe']!, short) }))
  const at = (name: string, row: number, column: number) => given[name]?.data[row * width + column] as number
  const expected = Float32Array.from({ length: samples * 3 * width }, (_, i) => {
    const row = Math.floor(i / width)
    return at('wte', row % vocab, i % width) + at('wpe', row % 3, i % width)
  })
  expect(y?.data).toEqual(expected)
})

it('the plain model itself has a loss of log(vocab) where all logits are equal', () => {
  const config = { layers: 1, width, heads, context: tokens, vocab }
  const zeros = (shape: number[]) => tf.zeros(shape)
  const shapes = {
    'wte.weight': [vocab, width],
    'wpe.weight': [tokens, width],
    'ln_f.weight': [width],
    'ln_f.bias': [width],
  }
  const block = {
    'ln_1.weight': [width],
    'ln_1.bias': [width],
    'ln_2.weight': [width],
    'ln_2.bias': [width],
    'attn.c_attn.weight': [width, 3 * width],
    'attn.c_attn.bias': [3 * width],
    'attn.c_proj.weight': [width, width],
    'attn.c_proj.bias': [width],
    'mlp.c_fc.weight': [width, 4 * width],
    'mlp.c_fc.bias': [4 * width],
    'mlp.c_proj.weight': [4 * width, width],
    'mlp.c_proj.bias': [width],
  }
  const loss = tf.tidy(() => {
    const weights = Object.fromEntries([
      ...Object.entries(shapes).map(([name, shape]) => [`transformer.${name}`, zeros(shape)] as const),
      ...Object.entries(block).map(([name, shape]) => [`transformer.h.0.${name}`, zeros(shape)] as const),
    ])
    return plainLossSum(tf, config, weights, new Int32Array(rows), new Int32Array(rows)).dataSync()[0] as number
  })
  expect(loss / samples).toBeCloseTo(Math.log(vocab), 5)
})
