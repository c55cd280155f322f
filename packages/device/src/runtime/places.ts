import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { napiVersion, type WheelPin } from '../config.ts'

const require = createRequire(import.meta.url)

/** Skein's folder in this user's cache: `$XDG_CACHE_HOME/skein`, or `~/.cache/skein`. An XDG path that is not absolute is ignored, as its specification says. */
export function userCacheDir(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const xdg = env['XDG_CACHE_HOME']
  const base = xdg !== undefined && path.isAbsolute(xdg) ? xdg : path.join(env['HOME'] ?? os.homedir(), '.cache')
  return path.join(base, 'skein')
}

/** Where one build of the runtime lies, and what it is built from. */
export interface RuntimePlaces {
  readonly wheel: WheelPin
  /** Changes with the wheel, the Node-API version, the platform and the addon's source. */
  readonly key: string
  /** Folder of all runtimes of this user. */
  readonly root: string
  /** Folder of this runtime; exists only when complete. */
  readonly dir: string
  readonly manifestPath: string
  readonly bindingPath: string
  readonly lockPath: string
}

/** Files of a finished runtime, relative to its folder. One level down, so that a CUDA wheel's `$ORIGIN/../nvidia/…` paths hold. */
export const libraryNames = ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'] as const
export const libraryFolder = 'tensorflow'
export const bindingName = 'tfjs_binding.node'
export const manifestName = 'manifest.json'

export function runtimePlaces(wheel: WheelPin, options: { readonly cacheDir?: string } = {}): RuntimePlaces {
  const root = path.join(options.cacheDir ?? userCacheDir(), 'runtime')
  const platform = `${process.platform}-${process.arch}`
  const key = `${wheel.name}-${wheel.version}_napi-v${napiVersion}_${platform}_${addonSource().hash.slice(0, 12)}`
  const dir = path.join(root, key)
  return {
    wheel,
    key,
    root,
    dir,
    manifestPath: path.join(dir, manifestName),
    bindingPath: path.join(dir, libraryFolder, bindingName),
    lockPath: path.join(root, `${key}.lock`),
  }
}

export interface AddonSource {
  /** The two translation units. */
  readonly units: readonly string[]
  /** Folder with `node_api.h`. */
  readonly nodeHeaders: string
  /** sha256 hex over names and bytes of every source file and the Node headers' version. */
  readonly hash: string
}

let cachedSource: AddonSource | undefined

/** The addon's C++ source inside the installed npm packages. Read once per process (75 KB). */
export function addonSource(): AddonSource {
  if (cachedSource !== undefined) return cachedSource
  const folder = path.join(packageFolder('@tensorflow/tfjs-node-gpu'), 'binding')
  const headersFolder = packageFolder('node-api-headers')
  const hash = createHash('sha256')
  for (const name of fs.readdirSync(folder).sort()) {
    hash.update(`${name}\0`).update(fs.readFileSync(path.join(folder, name)))
  }
  hash.update(fs.readFileSync(path.join(headersFolder, 'package.json')))
  cachedSource = {
    units: ['tfjs_backend.cc', 'tfjs_binding.cc'].map(name => path.join(folder, name)),
    nodeHeaders: path.join(headersFolder, 'include'),
    hash: hash.digest('hex'),
  }
  return cachedSource
}

/** Folder of an installed npm package that this package depends on. Does not load it. */
export function packageFolder(name: string): string {
  return path.dirname(require.resolve(`${name}/package.json`))
}

/** Version of an installed npm package that this package depends on. */
export function packageVersion(name: string): string {
  const { version } = require(`${name}/package.json`) as { version: string }
  return version
}
