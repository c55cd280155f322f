import { type Shape, SkeinError } from '@skein/core'
import { DeviceErrors } from '../errors.ts'
import { MemoryLedger } from '../memory-ledger.ts'
import type { TensorFlowBinding } from '../runtime/binding.ts'
import { eagerEmitter, type RawTensor } from './eager-emitter.ts'
import type { DeviceTensor, KernelDevice, Pass, PassFunction, TensorSpec } from './kernel-device.ts'
import type { KernelTensor, Precision } from './kernels.ts'
import { loadSession } from './load-session.ts'
import { copyInto } from './read-into.ts'
import { TensorTable } from './tensor-table.ts'
import { tensorflowKernels, tfDType } from './tensorflow-kernels.ts'
import { traceGraph } from './trace-graph.ts'

export interface TensorFlowDeviceOptions {
  readonly binding: TensorFlowBinding
  /** `graph`: each pass is traced into one graph and run in one session call. `raw`: kernel by kernel. */
  readonly kind: 'graph' | 'raw'
  readonly precision: Precision
}

/** Passes on the native TensorFlow addon, without tfjs's engine in between. */
export function createTensorFlowDevice(options: TensorFlowDeviceOptions): KernelDevice {
  const { binding, kind, precision } = options
  const ledger = new MemoryLedger(() => binding.getNumOfTensors())
  const passes = new Set<Pass>()
  const upload = (data: Float32Array | Int32Array, shape: Shape) =>
    binding.createTensor(shape, tfDType[data instanceof Float32Array ? 'float32' : 'int32'], data)

  const emitter = eagerEmitter(binding, upload)

  const device: KernelDevice = {
    kind,
    backend: 'tensorflow',
    precision,
    upload: (data, shape) => table.hold(upload(data, shape), shape, data instanceof Float32Array ? 'float32' : 'int32'),
    read: tensor => binding.tensorDataSync(table.heldOf(tensor)) as Float32Array | Int32Array,
    readInto: (tensor, out, accumulate) => copyInto(device.read(tensor), out, accumulate),
    retain: tensor => table.retain(tensor),
    release: tensor => table.release(tensor),
    compile(name, inputs, fn) {
      const compiled = kind === 'graph' ? compileGraph(name, inputs, fn) : compileEager(name, inputs, fn)
      let disposed = false
      const pass: Pass = {
        name,
        reads: compiled.reads,
        run: compiled.run,
        dispose() {
          if (disposed) return
          disposed = true
          passes.delete(pass)
          compiled.free()
        },
      }
      passes.add(pass)
      return pass
    },
    ledger: () => ledger.read(),
    dispose() {
      for (const pass of passes) pass.dispose()
      emitter.dispose()
    },
  }
  const table = new TensorTable<number>(device, ledger, id => binding.deleteTensor(id))

  function compileGraph(name: string, inputs: Readonly<Record<string, TensorSpec>>, fn: PassFunction) {
    const traced = traceGraph(inputs, precision, fn)
    const session = loadSession(binding, traced.savedModel)
    const feedNames = traced.feeds.map(([, ref]) => ref).join(',')
    const fetchNames = traced.fetches.map(({ ref }) => ref).join(',')
    const run: Pass['run'] = given => {
      const ids = traced.feeds.map(([input]) => table.heldOf(inputNamed(name, given, input)))
      const results = traced.fetches.length === 0 ? [] : binding.runSavedModel(session, ids, feedNames, fetchNames)
      const held = results.map(({ id }, i) => {
        const { shape, dtype } = traced.fetches[i] as KernelTensor
        return table.hold(id, shape, dtype)
      })
      const taken = new Set<number>()
      return Object.fromEntries(
        traced.outputs.map(([output, from]): [string, DeviceTensor] => {
          if ('input' in from) return [output, table.retain(inputNamed(name, given, from.input))]
          const tensor = held[from.fetch] as DeviceTensor
          if (taken.has(from.fetch)) return [output, table.retain(tensor)]
          taken.add(from.fetch)
          return [output, tensor]
        }),
      )
    }
    return { run, reads: traced.reads, free: () => binding.deleteSavedModel(session) }
  }

  function compileEager(name: string, inputs: Readonly<Record<string, TensorSpec>>, fn: PassFunction) {
    // Traced once all the same: shapes are checked at compile time on every device.
    const { reads } = traceGraph(inputs, precision, fn)
    const kernels = tensorflowKernels(emitter, precision)
    const run: Pass['run'] = given => {
      const ofId = new Map<number, DeviceTensor>()
      const operands: Record<string, RawTensor> = {}
      for (const input of reads) {
        const tensor = inputNamed(name, given, input)
        const id = table.heldOf(tensor)
        ofId.set(id, tensor)
        operands[input] = { id, shape: tensor.shape, dtype: tensor.dtype }
      }
      const results = emitter.scope(() => fn(kernels, operands))
      return Object.fromEntries(
        Object.entries(results).map(([output, { id, shape, dtype }]): [string, DeviceTensor] => {
          const known = ofId.get(id)
          if (known !== undefined) return [output, table.retain(known)]
          const tensor = table.hold(id, shape, dtype)
          ofId.set(id, tensor)
          return [output, tensor]
        }),
      )
    }
    return { run, reads, free: () => undefined }
  }

  return device
}

function inputNamed(pass: string, given: Readonly<Record<string, DeviceTensor>>, name: string): DeviceTensor {
  const tensor = given[name]
  if (tensor !== undefined) return tensor
  throw new SkeinError(DeviceErrors.KERNEL_SHAPE, {
    what: `the pass ${pass} was run without its input ${name}`,
    why: 'the caller names its tensors otherwise than when the pass was compiled',
    todo: 'pass every input that was declared',
    details: { pass, given: Object.keys(given) },
  })
}
