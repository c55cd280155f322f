import { CoreErrors, formatShape, numElements, type Shape, SkeinError } from '@skein/core'
import type { MemoryLedger } from '../memory-ledger.ts'
import type { DeviceTensor, KernelDevice } from './kernel-device.ts'
import type { KernelDType } from './kernels.ts'

/** A device tensor with what holds it on the device, and how many owners it has. */
export interface HeldTensor<H> extends DeviceTensor {
  readonly held: H
  owners: number
}

/** Makes, shares and frees the tensors of one device, and keeps its ledger. */
export class TensorTable<H> {
  readonly #device: KernelDevice
  readonly #ledger: MemoryLedger
  readonly #free: (held: H) => void

  constructor(device: KernelDevice, ledger: MemoryLedger, free: (held: H) => void) {
    this.#device = device
    this.#ledger = ledger
    this.#free = free
  }

  hold(held: H, shape: Shape, dtype: KernelDType): HeldTensor<H> {
    this.#ledger.made(numElements(shape) * 4)
    return { device: this.#device, held, shape, dtype, owners: 1 }
  }

  retain(tensor: DeviceTensor): HeldTensor<H> {
    const known = tensor as HeldTensor<H>
    known.owners++
    return known
  }

  release(tensor: DeviceTensor): void {
    const known = tensor as HeldTensor<H>
    known.owners--
    if (known.owners < 0) {
      throw new SkeinError(CoreErrors.INTERNAL, {
        what: `a device tensor ${formatShape(known.shape)} was released twice`,
        why: 'two owners believe in one ownership',
        todo: 'retain it for each owner',
      })
    }
    if (known.owners > 0) return
    this.#ledger.released(numElements(known.shape) * 4)
    this.#free(known.held)
  }

  heldOf(tensor: DeviceTensor): H {
    return (tensor as HeldTensor<H>).held
  }
}
