import { type Shape, SkeinError } from '@skein/core'
import { DeviceErrors } from '../errors.ts'
import { MemoryLedger } from '../memory-ledger.ts'
import type { Tfjs } from '../runtime/load.ts'
import { ConstantCache } from './constant-cache.ts'
import { type DeviceTensor, inputNamed, type KernelDevice, type Pass } from './kernel-device.ts'
import type { Precision } from './kernels.ts'
import { type PortableTensor, portableKernels, wrapTensor } from './portable-kernels.ts'
import { copyInto } from './read-into.ts'
import { TensorTable } from './tensor-table.ts'
import { traceGraph } from './trace-graph.ts'

/**
 * Passes on tfjs's public ops, on the backend that is active in `tf`.
 * @throws SKEIN_DEVICE_PRECISION_UNSUPPORTED for bf16: no tfjs op computes in it
 */
export function createPortableDevice(tf: Tfjs, precision: Precision = 'f32'): KernelDevice {
  const backend = tf.getBackend()
  if (precision !== 'f32') {
    throw new SkeinError(DeviceErrors.PRECISION_UNSUPPORTED, {
      what: `precision ${precision} was asked for on the ${backend} backend`,
      why: 'the ops of tfjs know float32 only',
      todo: "set precision: 'f32', or train on a machine with the TensorFlow runtime (`skein setup`)",
    })
  }
  const ledger = new MemoryLedger(() => tf.memory().numTensors)
  const make = (data: Float32Array | Int32Array, shape: Shape) =>
    tf.tensor(data, [...shape], data instanceof Float32Array ? 'float32' : 'int32')
  const constants = new ConstantCache<PortableTensor>((data, shape) => wrapTensor(tf.keep(make(data, shape))))
  const kernels = portableKernels(tf, constants)

  const device: KernelDevice = {
    kind: 'portable',
    backend,
    precision,
    upload: (data, shape) =>
      table.hold(wrapTensor(make(data, shape)), shape, data instanceof Float32Array ? 'float32' : 'int32'),
    read: tensor => table.heldOf(tensor).tensor.dataSync() as Float32Array | Int32Array,
    readInto: (tensor, out, accumulate) => copyInto(device.read(tensor), out, accumulate),
    retain: tensor => table.retain(tensor),
    release: tensor => table.release(tensor),
    compile(name, inputs, fn) {
      // Traced once all the same: shapes are checked at compile time on every device.
      const { reads } = traceGraph(inputs, precision, fn)
      const run: Pass['run'] = given => {
        const known = new Map<number, DeviceTensor>()
        const operands: Record<string, PortableTensor> = {}
        for (const input of reads) {
          const tensor = inputNamed(name, given, input)
          const operand = table.heldOf(tensor)
          known.set(operand.tensor.id, tensor)
          operands[input] = operand
        }
        const results = kernels.scoped(() => fn(kernels, operands))
        return Object.fromEntries(
          Object.entries(results).map(([output, result]): [string, DeviceTensor] => {
            const seen = known.get(result.tensor.id)
            if (seen !== undefined) return [output, table.retain(seen)]
            const tensor = table.hold(result, result.shape, result.dtype)
            known.set(result.tensor.id, tensor)
            return [output, tensor]
          }),
        )
      }
      return { name, reads, run, dispose: () => undefined }
    },
    ledger: () => ledger.read(),
    dispose() {
      for (const { tensor } of constants.all()) tensor.dispose()
      constants.clear()
    },
  }
  const table = new TensorTable<PortableTensor>(device, ledger, held => held.tensor.dispose())
  return device
}
