import type { Tensor, Tensor1D, Tensor2D } from '@tensorflow/tfjs'
import type { Tfjs } from '../runtime/load.ts'
import type { ConstantCache } from './constant-cache.ts'
import type { Kernels, KernelTensor } from './kernels.ts'
import {
  biasShape,
  broadcastShape,
  joinedShape,
  productShape,
  reshaped,
  splitShapes,
  transposedShape,
} from './shapes.ts'

/** A tfjs tensor of one of the two dtypes of passes. */
export interface PortableTensor extends KernelTensor {
  readonly tensor: Tensor
}

export function wrapTensor(tensor: Tensor): PortableTensor {
  return { tensor, shape: tensor.shape, dtype: tensor.dtype === 'int32' ? 'int32' : 'float32' }
}

/** `Kernels` on the public ops of tfjs: runs on whatever backend is active. Products are float32. */
export function portableKernels(tf: Tfjs, constants: ConstantCache<PortableTensor>): Kernels<PortableTensor> {
  const wrap = wrapTensor
  const lastDim = -1
  const backendHas = (kernel: string) => tf.getKernel(kernel, tf.getBackend()) !== undefined
  // Cast afterwards: wasm's OneHot writes integers whatever dtype it is asked for.
  const oneHot = (ids: Tensor, depth: number) => tf.cast(tf.oneHot(ids, depth), 'float32')
  const add = (a: PortableTensor, b: PortableTensor) => {
    broadcastShape('add', a.shape, b.shape)
    return wrap(tf.add(a.tensor, b.tensor))
  }

  return {
    precision: 'f32',
    scoped: fn => tf.tidy(fn as () => Tensor) as ReturnType<typeof fn>,
    constant: (values, shape) =>
      constants.get(values instanceof Float32Array ? values : Float32Array.from(values), shape),
    indices: (values, shape) => constants.get(values instanceof Int32Array ? values : Int32Array.from(values), shape),

    matMul(a, b, options = {}) {
      productShape('matMul', a.shape, b.shape, options)
      return wrap(tf.matMul(a.tensor, b.tensor, options.transposeA, options.transposeB))
    },
    batchMatMul(a, b, options = {}) {
      productShape('batchMatMul', a.shape, b.shape, options)
      return wrap(tf.matMul(a.tensor, b.tensor, options.transposeA, options.transposeB))
    },

    add,
    sub: (a, b) => wrap(tf.sub(a.tensor, b.tensor)),
    mul: (a, b) => wrap(tf.mul(a.tensor, b.tensor)),
    scale: (x, factor) => wrap(tf.mul(x.tensor, factor)),
    shift: (x, value) => wrap(tf.add(x.tensor, value)),
    square: x => wrap(tf.square(x.tensor)),
    rsqrt: x => wrap(tf.rsqrt(x.tensor)),
    exp: x => wrap(tf.exp(x.tensor)),
    sigmoid: x => wrap(tf.sigmoid(x.tensor)),
    sigmoidGrad: (s, dy) => wrap(tf.mul(dy.tensor, tf.mul(s.tensor, tf.sub(1, s.tensor)))),

    biasAdd(x, bias) {
      biasShape('biasAdd', x.shape, bias.shape)
      return wrap(tf.add(x.tensor, bias.tensor))
    },
    columnSum: x => wrap(tf.sum(x.tensor, 0)),
    rowMean: x => wrap(tf.mean(x.tensor, lastDim, true)),
    rowSum: x => wrap(tf.sum(x.tensor, lastDim, true)),
    rowMax: x => wrap(tf.max(x.tensor, lastDim, true)),
    firstDimSum: x => wrap(tf.sum(x.tensor, 0)),

    reshape: (x, shape) => wrap(tf.reshape(x.tensor, [...reshaped(x.shape, shape)])),
    transpose(x, permutation) {
      transposedShape(x.shape, permutation)
      return wrap(tf.transpose(x.tensor, [...permutation]))
    },
    unpack: x => tf.unstack(x.tensor).map(wrap),
    pack: parts => wrap(tf.stack(parts.map(part => part.tensor))),

    concat(parts, dim) {
      joinedShape(
        parts.map(part => part.shape),
        dim,
      )
      return wrap(
        tf.concat(
          parts.map(part => part.tensor),
          dim,
        ),
      )
    },
    split(x, lengths, dim) {
      splitShapes(x.shape, lengths, dim)
      return tf.split(x.tensor, [...lengths], dim).map(wrap)
    },

    gatherRows: (table, ids) => wrap(tf.gather(table.tensor, ids.tensor as Tensor1D)),
    segmentSum(x, ids, numSegments) {
      if (backendHas('UnsortedSegmentSum')) {
        return wrap(tf.unsortedSegmentSum(x.tensor, ids.tensor as Tensor1D, numSegments))
      }
      // wasm has no such kernel: one product with the ids as one-hot rows, [N,numSegments].
      return wrap(tf.matMul(oneHot(ids.tensor, numSegments) as Tensor2D, x.tensor, true, false))
    },

    oneHot: (ids, depth) => wrap(oneHot(ids.tensor, depth)),

    softmax: x => wrap(tf.softmax(x.tensor)),
    logSoftmax: x => wrap(tf.logSoftmax(x.tensor)),
    softmaxCrossEntropy(logits, labels) {
      const logProbs = tf.logSoftmax(logits.tensor)
      const hot = oneHot(labels.tensor, logits.shape.at(-1) as number)
      return {
        loss: wrap(tf.neg(tf.sum(tf.mul(logProbs, hot), lastDim))),
        gradient: wrap(tf.sub(tf.exp(logProbs), hot)),
      }
    },
  }
}
