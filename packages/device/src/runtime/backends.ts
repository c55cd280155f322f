import { createRequire } from 'node:module'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { cpuWheel, cudaWheel, type DeviceKind } from '../config.ts'
import { DeviceErrors } from '../errors.ts'
import { type LoadOptions, loadTfjs, shimUtil, type Tfjs } from './load.ts'
import { packageFolder, runtimePlaces } from './places.ts'

const require = createRequire(import.meta.url)

/** Options of `openTfjs`; `threads` matter to the tensorflow kinds only (tfjs runs wasm in one thread under Node). */
export interface OpenOptions extends Omit<LoadOptions, 'places'> {
  readonly cacheDir?: string
}

/**
 * tfjs with the backend of `kind` active: what user-written models and the portable kernels run on. One kind per process.
 * @throws SKEIN_DEVICE_RUNTIME_MISSING, SKEIN_DEVICE_RUNTIME_DAMAGED, SKEIN_DEVICE_BACKEND_UNAVAILABLE
 */
export async function openTfjs(kind: DeviceKind, options: OpenOptions = {}): Promise<Tfjs> {
  switch (kind) {
    case 'tensorflow-cuda':
      return loadTfjs({ ...options, places: runtimePlaces(cudaWheel, options) })
    case 'tensorflow-cpu':
      return loadTfjs({ ...options, places: runtimePlaces(cpuWheel, options) })
    case 'wasm':
      return openPortable('wasm')
    case 'cpu':
      return openPortable('cpu')
  }
}

async function openPortable(name: 'wasm' | 'cpu'): Promise<Tfjs> {
  shimUtil()
  const tf = require('@tensorflow/tfjs') as Tfjs
  if (name === 'wasm') {
    const wasm = require('@tensorflow/tfjs-backend-wasm') as { setWasmPaths(prefix: string): void }
    wasm.setWasmPaths(path.join(packageFolder('@tensorflow/tfjs-backend-wasm'), 'dist') + path.sep)
  }
  if (!(await withoutNewProcessListeners(() => tf.setBackend(name)))) {
    throw new SkeinError(DeviceErrors.BACKEND_UNAVAILABLE, {
      what: `tfjs could not start its ${name} backend`,
      why: 'the files of its package are not whole, or this Node lacks WebAssembly SIMD',
      todo: 'install the packages again (remove node_modules, then `npm start`)',
    })
  }
  await tf.ready()
  return tf
}

/** The wasm module installs handlers that turn an unhandled rejection into a throw of its own; how this process ends is its owner's to say. */
async function withoutNewProcessListeners<T>(start: () => Promise<T>): Promise<T> {
  const events = ['uncaughtException', 'unhandledRejection'] as const
  const before = events.map(event => new Set<unknown>(process.listeners(event as 'uncaughtException')))
  const result = await start()
  events.forEach((event, i) => {
    for (const listener of process.listeners(event as 'uncaughtException')) {
      if (before[i]?.has(listener) !== true) process.off(event, listener)
    }
  })
  return result
}
