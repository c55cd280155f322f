import type { DeviceTensor, KernelDevice } from '@skein/device'
import { numElements, type Shape } from '@skein/core'
import type { StageTensor } from './pipeline-stage.ts'

/** A stage's tensor where it was made: on the device. */
export class DeviceStageTensor implements StageTensor {
  readonly tensor: DeviceTensor
  readonly elems: number

  constructor(tensor: DeviceTensor) {
    this.tensor = tensor
    this.elems = numElements(tensor.shape)
  }

  copyTo(out: Float32Array): void {
    this.tensor.device.readInto(this.tensor, out, false)
  }

  release(): void {
    this.tensor.device.release(this.tensor)
  }
}

/** Values from a message, whose buffer is used again while the device still holds the tensor: hence a copy. */
export function copyToDevice(device: KernelDevice, values: Float32Array, shape: Shape): DeviceStageTensor {
  return new DeviceStageTensor(device.upload(values.slice(), shape))
}

/** The tensor on `device`, whose ownership passes on. One that lives elsewhere is copied and released. */
export function takeToDevice(device: KernelDevice, given: StageTensor, shape: Shape): DeviceTensor {
  if (given instanceof DeviceStageTensor && given.tensor.device === device) return given.tensor
  const values = new Float32Array(given.elems)
  given.copyTo(values)
  given.release()
  return device.upload(values, shape)
}
