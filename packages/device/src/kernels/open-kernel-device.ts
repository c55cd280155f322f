import type { DeviceKind, ThreadOptions } from '../config.ts'
import { cpuWheel, cudaWheel } from '../config.ts'
import { openTfjs } from '../runtime/backends.ts'
import { loadBinding } from '../runtime/load.ts'
import { runtimePlaces } from '../runtime/places.ts'
import type { KernelDevice, KernelsKind } from './kernel-device.ts'
import type { Precision } from './kernels.ts'
import { createPortableDevice } from './portable-device.ts'
import { createTensorFlowDevice } from './tensorflow-device.ts'

export interface OpenKernelDeviceOptions {
  /** Default: `graph` on TensorFlow (the fastest), `portable` elsewhere. */
  readonly kernels?: KernelsKind
  /** Default `f32`. */
  readonly precision?: Precision
  readonly threads?: ThreadOptions
  readonly cacheDir?: string
}

/** The kernels to use on a device where nothing else was asked for. */
export function defaultKernels(kind: DeviceKind): KernelsKind {
  return kind === 'tensorflow-cpu' || kind === 'tensorflow-cuda' ? 'graph' : 'portable'
}

/**
 * Opens the device of `kind` for passes. On TensorFlow with `graph` or `raw` kernels no JavaScript of tfjs is loaded.
 * @throws as loadBinding and openTfjs; SKEIN_DEVICE_PRECISION_UNSUPPORTED
 */
export async function openKernelDevice(kind: DeviceKind, options: OpenKernelDeviceOptions = {}): Promise<KernelDevice> {
  const { kernels = defaultKernels(kind), precision = 'f32' } = options
  if (kernels === 'portable') return createPortableDevice(await openTfjs(kind, options), precision)
  const places = runtimePlaces(kind === 'tensorflow-cuda' ? cudaWheel : cpuWheel, options)
  const binding = loadBinding({ places, ...(options.threads === undefined ? {} : { threads: options.threads }) })
  return createTensorFlowDevice({ binding, kind: kernels, precision })
}
