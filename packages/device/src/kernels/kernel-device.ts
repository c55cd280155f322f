import { CoreErrors, type Shape, SkeinError } from '@skein/core'
import type { LedgerReading } from '../memory-ledger.ts'
import type { KernelDType, Kernels, KernelTensor, Precision } from './kernels.ts'

/** How passes run: traced into one TensorFlow graph, as TensorFlow kernels one by one, or on tfjs ops of any backend. */
export type KernelsKind = 'graph' | 'raw' | 'portable'

/** A tensor on a device between passes. Whoever got it from `upload` or a pass calls `release` on it, once. */
export interface DeviceTensor extends KernelTensor {
  readonly device: KernelDevice
}

export interface TensorSpec {
  readonly shape: Shape
  /** Default float32. */
  readonly dtype?: KernelDType
}

/** A pass: from named tensors to named tensors, written on `Kernels` for any T. Called again for each run on eager devices: no state, no randomness. */
export type PassFunction = <T extends KernelTensor>(
  kernels: Kernels<T>,
  inputs: Readonly<Record<string, T>>,
) => Readonly<Record<string, T>>

/** A compiled pass, the same to call whatever runs it. Borrows `inputs` (others than `reads` are ignored); the caller owns each output. */
export interface Pass {
  readonly name: string
  /** Those of the declared inputs that it reads. What no later pass reads can be released. */
  readonly reads: readonly string[]
  run(inputs: Readonly<Record<string, DeviceTensor>>): Record<string, DeviceTensor>
  /** Frees what the pass keeps on the device. Idempotent. */
  dispose(): void
}

/** A place where passes run. Synchronous: every call blocks its thread until done. */
export interface KernelDevice {
  readonly kind: KernelsKind
  /** `tensorflow`, `wasm` or `cpu`. */
  readonly backend: string
  readonly precision: Precision
  /**
   * A tensor over `data`, shared or copied: memory aligned to 64 B may be shared with it, so `data` must stay unchanged until
   * the tensor is released.
   */
  upload(data: Float32Array | Int32Array, shape: Shape): DeviceTensor
  /** The values in a new array. */
  read(tensor: DeviceTensor): Float32Array | Int32Array
  /** Stores or adds the values into `out`, float32 of as many elements. */
  readInto(tensor: DeviceTensor, out: Float32Array, accumulate: boolean): void
  /** Another owner for the same tensor: each release counts once. */
  retain(tensor: DeviceTensor): DeviceTensor
  release(tensor: DeviceTensor): void
  /** @throws SKEIN_DEVICE_KERNEL_SHAPE while tracing, with the op and the shapes */
  compile(name: string, inputs: Readonly<Record<string, TensorSpec>>, fn: PassFunction): Pass
  ledger(): LedgerReading
  /** Frees the device's constants and passes. Tensors still held by others are theirs to release before. Idempotent. */
  dispose(): void
}

export function releaseAll(tensors: Iterable<DeviceTensor> | Readonly<Record<string, DeviceTensor>>): void {
  const list = Symbol.iterator in tensors ? tensors : Object.values(tensors)
  for (const tensor of list as Iterable<DeviceTensor>) tensor.device.release(tensor)
}

/** The tensor that a pass declared as `input`. @throws SKEIN_INTERNAL if the caller left it out */
export function inputNamed(pass: string, given: Readonly<Record<string, DeviceTensor>>, input: string): DeviceTensor {
  const tensor = given[input]
  if (tensor !== undefined) return tensor
  throw new SkeinError(CoreErrors.INTERNAL, {
    what: `the pass ${pass} was run without its input ${input}`,
    why: `it was given ${Object.keys(given).join(', ') || 'nothing'}`,
    todo: 'give every input that it was compiled with',
  })
}
