import type { Shape } from '@skein/core'
import { ConstantCache } from './constant-cache.ts'
import { GraphWriter } from './graph-def.ts'
import type { PassFunction, TensorSpec } from './kernel-device.ts'
import type { KernelTensor, Precision } from './kernels.ts'
import { type OpEmitter, tensorflowKernels, tfDType } from './tensorflow-kernels.ts'

/** A tensor of a graph that is being written: the output `node:index`. */
export interface GraphTensor extends KernelTensor {
  readonly ref: string
}

/** A node as it was traced; its outputs are `name:0`, `name:1`, … */
export interface TracedNode {
  readonly name: string
  readonly op: string
  readonly inputs: readonly string[]
  readonly outputs: readonly Shape[]
}

/** A pass as a TensorFlow graph, ready to be written to a folder and loaded. */
export interface TracedPass {
  /** The bytes of `saved_model.pb`. */
  readonly savedModel: Uint8Array
  readonly nodes: readonly TracedNode[]
  /** Declared inputs that the graph reads, in feed order: [input's name, name of its placeholder's output]. */
  readonly feeds: readonly (readonly [string, string])[]
  /** Declared inputs that the graph reads or that the pass returns as they are. */
  readonly reads: readonly string[]
  /** Distinct outputs, in fetch order. */
  readonly fetches: readonly GraphTensor[]
  /** Where each named output comes from: a fetch by index, or an input that the pass returns as it is. */
  readonly outputs: readonly (readonly [string, { readonly fetch: number } | { readonly input: string }])[]
}

/** Runs `fn` once with kernels that write nodes instead of computing. @throws SKEIN_DEVICE_KERNEL_SHAPE */
export function traceGraph(
  inputs: Readonly<Record<string, TensorSpec>>,
  precision: Precision,
  fn: PassFunction,
): TracedPass {
  const writer = new GraphWriter()
  const used = new Set<string>()
  const nodes: TracedNode[] = []
  const constants = new ConstantCache<GraphTensor>((data, shape) => {
    const dtype = data instanceof Float32Array ? 'float32' : 'int32'
    const name = writer.constant({ dtype: tfDType[dtype], shape, data })
    nodes.push({ name, op: 'Const', inputs: [], outputs: [shape] })
    return { ref: `${name}:0`, shape, dtype }
  })
  const emitter: OpEmitter<GraphTensor> = {
    op(name, operands, attributes, outputs) {
      const refs = operands.map(operand => operand.ref)
      for (const ref of refs) used.add(ref)
      const node = writer.node(name, refs, attributes)
      nodes.push({ name: node, op: name, inputs: refs, outputs: outputs.map(output => output.shape) })
      return outputs.map((output, i) => ({ ...output, ref: `${node}:${i}` }))
    },
    constant: (data, shape: Shape) => constants.get(data, shape),
    scoped: run => run(),
  }

  const placeholders: Record<string, GraphTensor> = {}
  const inputOf = new Map<string, string>()
  for (const [index, [name, { shape, dtype = 'float32' }]] of Object.entries(inputs).entries()) {
    const ref = `${writer.placeholder(`x${index}`, tfDType[dtype], shape)}:0`
    placeholders[name] = { ref, shape, dtype }
    inputOf.set(ref, name)
  }
  const results = fn(tensorflowKernels(emitter, precision), placeholders)

  const fetches: GraphTensor[] = []
  const fetchOf = new Map<string, number>()
  const outputs: [string, { fetch: number } | { input: string }][] = []
  for (const [name, tensor] of Object.entries(results)) {
    const input = inputOf.get(tensor.ref)
    if (input !== undefined) {
      outputs.push([name, { input }])
      continue
    }
    let fetch = fetchOf.get(tensor.ref)
    if (fetch === undefined) {
      fetch = fetches.push(tensor) - 1
      fetchOf.set(tensor.ref, fetch)
    }
    outputs.push([name, { fetch }])
  }
  const returned = new Set(Object.values(results).map(tensor => tensor.ref))
  return {
    savedModel: writer.savedModel(),
    nodes,
    feeds: [...inputOf].filter(([ref]) => used.has(ref)).map(([ref, name]) => [name, ref]),
    reads: [...inputOf].filter(([ref]) => used.has(ref) || returned.has(ref)).map(([, name]) => name),
    fetches,
    outputs,
  }
}
