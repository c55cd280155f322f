import type { KernelDevice, Kernels, KernelTensor, Pass, TensorSpec } from '@skein/device'
import { blockForward, type BlockParams, blockParamNames } from '../layers/block.ts'
import { embeddingForward } from '../layers/embedding.ts'
import { headLogits } from '../layers/head.ts'
import { type Gpt2Config, names } from './config.ts'

/** Everything up to the logits [N,V]; nothing is saved for a backward pass. */
function logitsOf<T extends KernelTensor>(
  k: Kernels<T>,
  config: Gpt2Config,
  samples: number,
  tensors: Readonly<Record<string, T>>,
): T {
  const of = (name: string) => tensors[name] as T
  const sizes = { ...config, samples, tokens: config.context }
  let x = embeddingForward(k, of('ids'), of(names.wte), of(names.wpe), sizes)
  for (let block = 0; block < config.layers; block++) {
    const params = Object.fromEntries(blockParamNames.map(name => [name, of(names.block(block, name))]))
    x = blockForward(k, x, params as unknown as BlockParams<T>, sizes).y
  }
  return headLogits(k, x, of(names.finalGain), of(names.finalBias), of(names.wte)).logits
}

type Specs = Readonly<Record<string, TensorSpec>>
type Compiler = Pick<KernelDevice, 'compile'>

/** `ids`, `targets` → `lossSum`: the sum over samples of each sample's mean loss. */
export function evaluationPass(device: Compiler, config: Gpt2Config, params: Specs, samples: number): Pass {
  const rows: TensorSpec = { shape: [samples * config.context], dtype: 'int32' }
  return device.compile(`gpt2 evaluate ${samples}`, { ...params, ids: rows, targets: rows }, (k, inputs) => {
    const logits = logitsOf(k, config, samples, inputs)
    const { loss } = k.softmaxCrossEntropy(logits, inputs['targets'] as typeof logits)
    return { lossSum: k.scale(k.firstDimSum(loss), 1 / config.context) }
  })
}

/** `ids` of one sample → `logits` [context, vocab]. */
export function logitsPass(device: Compiler, config: Gpt2Config, params: Specs): Pass {
  const ids: TensorSpec = { shape: [config.context], dtype: 'int32' }
  return device.compile('gpt2 logits', { ...params, ids }, (k, inputs) => ({ logits: logitsOf(k, config, 1, inputs) }))
}
