import { type KernelDevice, type TracedPass, traceGraph } from '@skein/device'
import { describe, expect, it } from 'vitest'
import { type Gpt2Config, gpt2Params, segmentRanges } from './config.ts'
import { evaluationPass, logitsPass } from './inference-passes.ts'
import { segmentBackward, segmentForward, wholeStep } from './segment-passes.ts'

const config: Gpt2Config = { layers: 1, width: 16, heads: 2, context: 8, vocab: 32 }
const params = Object.fromEntries(
  gpt2Params(config, segmentRanges(config.layers)).map(({ name, shape }) => [name, { shape }]),
)
const rows = { shape: [2 * config.context], dtype: 'int32' } as const

type Compiler = Pick<KernelDevice, 'compile'>

/** The graph that a pass would be; nothing is computed. */
function traced(compile: (device: Compiler) => unknown): TracedPass {
  const graphs: TracedPass[] = []
  compile({
    compile(name, inputs, fn) {
      graphs.push(traceGraph(inputs, 'f32', fn))
      return { name, reads: [], run: () => ({}), dispose: () => undefined }
    },
  })
  return graphs[0] as TracedPass
}

describe('no pass adds anything to a batched product, which TensorFlow would fold into a loop a hundred times slower', () => {
  const passes = {
    evaluation: (device: Compiler) => evaluationPass(device, config, params, 2),
    logits: (device: Compiler) => logitsPass(device, config, params),
    training: (device: Compiler) =>
      device.compile('step', { ...params, ids: rows, targets: rows }, (k, inputs) =>
        wholeStep(k, { ...config, samples: 2, tokens: config.context }, inputs),
      ),
    'backward of a slice': (device: Compiler) => {
      const keysValues = (tokens: number) => ({ shape: [2, config.heads, tokens, config.width / config.heads] })
      const tokens = { shape: [2 * 3], dtype: 'int32' } as const
      const others = {
        'earlier/0/h0/k': keysValues(2),
        'earlier/0/h0/v': keysValues(2),
        'later/h0/k': keysValues(5),
        'later/h0/v': keysValues(5),
      }
      return device.compile('slice', { ...params, ids: tokens, targets: tokens, ...others }, (k, inputs) => {
        const range = { index: 0, from: 0, to: 1, isFirst: true, isLast: true }
        const sizes = { ...config, samples: 2, tokens: 3, start: 2, slice: 1 }
        const { lossSum, ...saved } = segmentForward(k, range, sizes, inputs)
        return {
          ...segmentBackward(k, range, sizes, { ...inputs, ...saved }),
          lossSum: lossSum as (typeof inputs)[string],
        }
      })
    },
  }
  for (const [name, compile] of Object.entries(passes)) {
    it(name, () => {
      const { nodes } = traced(compile)
      const isBatched = (node: (typeof nodes)[number]) =>
        node.op.startsWith('BatchMatMul') && (node.outputs[0]?.length ?? 0) > 2
      const products = new Set(nodes.filter(isBatched).map(node => `${node.name}:0`))
      expect(products.size).toBeGreaterThan(0)
      const adds = nodes.filter(node => /Add/.test(node.op) && node.inputs.some(input => products.has(input)))
      expect(adds).toEqual([])
    })
  }
})
