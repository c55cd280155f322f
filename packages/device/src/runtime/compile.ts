import fs from 'node:fs'
import path from 'node:path'
import { napiVersion } from '../config.ts'
import { addonSource, libraryNames } from './places.ts'
import { mustRun } from './run-command.ts'

export interface CompileOptions {
  readonly compiler: string
  /** Folder of the wheel's `tensorflow/include`. */
  readonly includeDir: string
  /** A folder of the caller's for objects and stand-ins. */
  readonly workDir: string
  readonly target: string
  readonly signal?: AbortSignal
}

const COMPILE_TIMEOUT_MS = 10 * 60_000
const advice = 'a g++ of version 8 or later with its headers is needed: `apt-get install g++ libc6-dev`'

/**
 * Compiles and links the addon. It is linked against empty stand-ins that carry only the names of the two libraries:
 * the linker would read 850 MB to check symbols that the loader checks anyway (11 s against 0.3 s, measured), and so
 * the compile can run while the libraries are still being unpacked. `-z now` makes the first load fail if a symbol is missing.
 * @throws SKEIN_DEVICE_SETUP_FAILED
 */
export async function compileAddon(options: CompileOptions): Promise<void> {
  const { compiler, includeDir, workDir, target } = options
  const limits = { timeoutMs: COMPILE_TIMEOUT_MS, ...(options.signal === undefined ? {} : { signal: options.signal }) }
  const { units, nodeHeaders } = addonSource()
  const run = (what: string, args: readonly string[]) => mustRun(what, advice, compiler, args, limits)

  const objects = units.map(unit => path.join(workDir, `${path.basename(unit)}.o`))
  const common = [
    '-O2',
    '-std=c++17',
    '-fPIC',
    '-w',
    `-DNAPI_VERSION=${napiVersion}`,
    '-I',
    nodeHeaders,
    '-I',
    includeDir,
  ]
  await Promise.all(
    units.map((unit, i) => run(`compile of ${path.basename(unit)}`, [...common, '-c', unit, '-o', objects[i] ?? ''])),
  )

  const standIns = path.join(workDir, 'stand-ins')
  fs.mkdirSync(standIns, { recursive: true })
  for (const name of libraryNames) {
    const args = [
      '-shared',
      '-nostdlib',
      `-Wl,-soname,${name}`,
      '-x',
      'c',
      '/dev/null',
      '-o',
      path.join(standIns, name),
    ]
    await run(`link of a stand-in for ${name}`, args)
  }
  const libraries = ['-Wl,--no-as-needed', '-L', standIns, ...libraryNames.map(name => `-l:${name}`)]
  const loading = ['-Wl,-rpath,$ORIGIN', '-Wl,-z,now']
  await run('link of the addon', ['-shared', ...objects, '-o', target, ...libraries, ...loading])
}
