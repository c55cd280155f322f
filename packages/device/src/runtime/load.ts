import { createRequire } from 'node:module'
import type * as tfjs from '@tensorflow/tfjs'
import { SkeinError } from '@skein/core'
import { cpuWheel, type ThreadOptions } from '../config.ts'
import { DeviceErrors } from '../errors.ts'
import type { TensorFlowBinding } from './binding.ts'
import { setTensorFlowEnvironment } from './environment.ts'
import { quickCheckRuntime } from './manifest.ts'
import { type RuntimePlaces, runtimePlaces } from './places.ts'

const require = createRequire(import.meta.url)

export interface LoadOptions {
  /** Which runtime; default the CPU one of this user's cache. */
  readonly places?: RuntimePlaces
  /** Takes effect only at the first load in a process. */
  readonly threads?: ThreadOptions
}

/**
 * The native addon alone, without any of tfjs's JavaScript (0.23 s against 0.47 s for all of it, files in the page cache). `loadTfjs` later in the same process gets
 * the same instance: its tensor ids are valid in both. Call it in the main thread first; see `setTensorFlowEnvironment`.
 * @throws SKEIN_DEVICE_RUNTIME_MISSING, SKEIN_DEVICE_RUNTIME_DAMAGED
 */
export function loadBinding(options: LoadOptions = {}): TensorFlowBinding {
  const places = options.places ?? runtimePlaces(cpuWheel)
  assertRuntime(places)
  setTensorFlowEnvironment(options.threads)
  try {
    return require(places.bindingPath) as TensorFlowBinding
  } catch (cause) {
    throw new SkeinError(DeviceErrors.RUNTIME_DAMAGED, {
      what: `the TensorFlow runtime in ${places.dir} does not load: ${cause instanceof Error ? cause.message : String(cause)}`,
      why: 'a system library it needs is missing, or its files were changed',
      todo: 'run `skein setup --verify`; it checks every file by hash and builds the runtime anew if one differs',
      details: { dir: places.dir },
      cause,
    })
  }
}

/** Throws unless the runtime is in the cache with the sizes of its manifest. */
export function assertRuntime(places: RuntimePlaces): void {
  const check = quickCheckRuntime(places.dir, places.key)
  if (check.ok) return
  const row = check.state === 'missing' ? DeviceErrors.RUNTIME_MISSING : DeviceErrors.RUNTIME_DAMAGED
  throw new SkeinError(row, {
    what: `the TensorFlow runtime ${places.key} is ${check.state}: ${check.reason}`,
    why:
      check.state === 'missing'
        ? 'it was not set up for this user yet'
        : 'a set-up was interrupted, or files were changed',
    todo: 'run `skein setup` (`scripts/skein setup` in a clone)',
    details: { dir: places.dir },
  })
}

/** The namespace of tfjs. */
export type Tfjs = typeof tfjs

let loaded: Tfjs | undefined

/**
 * The whole of `@tensorflow/tfjs-node-gpu`, backend `tensorflow` active, on the addon in the cache. Writes nothing into
 * node_modules: the module that would look for a downloaded addon there is answered from the require cache instead.
 * @throws as loadBinding
 */
export function loadTfjs(options: LoadOptions = {}): Tfjs {
  if (loaded !== undefined) return loaded
  const places = options.places ?? runtimePlaces(cpuWheel)
  loadBinding({ ...options, places })
  shimUtil()
  const tfjsNode = require.resolve('@tensorflow/tfjs-node-gpu')
  answerFromCache(createRequire(tfjsNode).resolve('@mapbox/node-pre-gyp'), { find: () => places.bindingPath })
  loaded = require(tfjsNode) as Tfjs
  return loaded
}

/** Node 23 removed two functions of `util` that tfjs 4.22 calls. */
export function shimUtil(): void {
  const util = require('node:util') as Record<string, unknown>
  util['isNullOrUndefined'] ??= (value: unknown) => value === null || value === undefined
  util['isArray'] ??= Array.isArray
}

/** Makes `require` of a file return `exports` without running the file. */
function answerFromCache(file: string, exports: unknown): void {
  const Module = require('node:module') as new (id: string) => NodeJS.Module
  const module = new Module(file)
  module.filename = file
  module.loaded = true
  module.exports = exports
  require.cache[file] = module
}
