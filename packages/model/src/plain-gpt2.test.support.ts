import type { Tfjs } from '@skein/device'
import type { Gpt2Config } from './gpt2/config.ts'

export type Tensor = InstanceType<Tfjs['Tensor']>
type Weights = Readonly<Record<string, Tensor>>

interface PlainLayers {
  readonly layerNorm: (x: Tensor, gain: Tensor, bias: Tensor) => Tensor
  readonly linear: (x: Tensor, weight: Tensor, bias: Tensor) => Tensor
  readonly gelu: (x: Tensor) => Tensor
  /** qkv [N,3D] → [N,D]. */
  readonly attention: (qkv: Tensor, samples: number, tokens: number, heads: number) => Tensor
  /** `w` holds the block's weights without their prefix. */
  readonly block: (x: Tensor, w: Weights, samples: number, tokens: number, heads: number) => Tensor
}

/** GPT-2 as one would write it for tfjs's autodiff, layer by layer: the oracle of the hand-written passes. */
export function plainLayers(tf: Tfjs): PlainLayers {
  const layerNorm = (x: Tensor, gain: Tensor, bias: Tensor) => {
    const { mean, variance } = tf.moments(x, -1, true)
    return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5))), gain), bias)
  }
  const linear = (x: Tensor, weight: Tensor, bias: Tensor) => tf.add(tf.matMul(x, weight), bias)
  const gelu = (x: Tensor) => {
    const inner = tf.mul(Math.sqrt(2 / Math.PI), tf.add(x, tf.mul(0.044715, tf.pow(x, 3))))
    return tf.mul(tf.mul(0.5, x), tf.add(1, tf.tanh(inner)))
  }
  const attention = (qkv: Tensor, samples: number, tokens: number, heads: number) => {
    const width = (qkv.shape[1] as number) / 3
    const split = tf.transpose(tf.reshape(qkv, [samples, tokens, 3, heads, width / heads]), [2, 0, 3, 1, 4])
    const [q, k, v] = tf.unstack(split) as [Tensor, Tensor, Tensor]
    const scores = tf.div(tf.matMul(q, k, false, true), Math.sqrt(width / heads))
    const allowed = tf.linalg.bandPart(tf.ones([tokens, tokens]), -1, 0)
    const masked = tf.add(scores, tf.mul(tf.sub(1, allowed), -1e9))
    return tf.reshape(tf.transpose(tf.matMul(tf.softmax(masked), v), [0, 2, 1, 3]), [samples * tokens, width])
  }
  const block = (x: Tensor, w: Weights, samples: number, tokens: number, heads: number) => {
    const of = (name: string) => w[name] as Tensor
    const layer = (input: Tensor, name: string) => linear(input, of(`${name}.weight`), of(`${name}.bias`))
    const qkv = layer(layerNorm(x, of('ln_1.weight'), of('ln_1.bias')), 'attn.c_attn')
    const middle = tf.add(x, layer(attention(qkv, samples, tokens, heads), 'attn.c_proj'))
    const inner = gelu(layer(layerNorm(middle, of('ln_2.weight'), of('ln_2.bias')), 'mlp.c_fc'))
    return tf.add(middle, layer(inner, 'mlp.c_proj'))
  }
  return { layerNorm, linear, gelu, attention, block }
}

/** The loss sum over samples of a whole GPT-2, from weights by their Hugging Face names. */
export function plainLossSum(
  tf: Tfjs,
  config: Gpt2Config,
  weights: Weights,
  inputs: Int32Array,
  targets: Int32Array,
): Tensor {
  const { block, layerNorm } = plainLayers(tf)
  const { context, width, heads, vocab } = config
  const samples = inputs.length / context
  const of = (name: string) => weights[`transformer.${name}`] as Tensor
  const tokens = tf.reshape(tf.gather(of('wte.weight'), tf.tensor1d(inputs, 'int32')), [samples, context, width])
  let x: Tensor = tf.reshape(tf.add(tokens, of('wpe.weight')), [samples * context, width])
  for (let i = 0; i < config.layers; i++) {
    const prefix = `transformer.h.${i}.`
    const own = Object.entries(weights).filter(([name]) => name.startsWith(prefix))
    x = block(x, Object.fromEntries(own.map(([name, w]) => [name.slice(prefix.length), w])), samples, context, heads)
  }
  const logits = tf.matMul(layerNorm(x, of('ln_f.weight'), of('ln_f.bias')), of('wte.weight'), false, true)
  const labels = tf.oneHot(tf.tensor1d(targets, 'int32'), vocab)
  return tf.mul(tf.losses.softmaxCrossEntropy(labels, logits), samples)
}
