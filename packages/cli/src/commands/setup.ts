import fs from 'node:fs'
import { cpuWheel, cudaWheel, progressPrinter, runtimePlaces, setupBestRuntime, setupRuntime } from '@skein/device'

export interface SetupCommandOptions {
  readonly json: boolean
  readonly signal: AbortSignal
  /** Build anew even if the cache holds a whole runtime. */
  readonly force: boolean
  /** Compare the cached files by hash. */
  readonly verify: boolean
  /** That runtime and no other; default: the best for this machine. */
  readonly kind?: 'cpu' | 'cuda'
}

/** `skein setup`: puts the TensorFlow runtime into this user's cache. Progress goes to stderr. */
export async function setup(options: SetupCommandOptions): Promise<number> {
  const { json, signal, force, verify, kind } = options
  if (force) {
    const wheels = kind === 'cpu' ? [cpuWheel] : kind === 'cuda' ? [cudaWheel] : [cpuWheel, cudaWheel]
    for (const wheel of wheels) fs.rmSync(runtimePlaces(wheel).dir, { recursive: true, force: true })
  }
  const printer = progressPrinter(process.stderr)
  const shared = { signal, verify, onProgress: printer.report }
  try {
    const result =
      kind === undefined
        ? await setupBestRuntime({
            ...shared,
            onFallback: error => process.stderr.write(`the CUDA runtime cannot be had: ${error.message}\n`),
          })
        : await setupRuntime({ ...shared, wheel: kind === 'cuda' ? cudaWheel : cpuWheel })
    printer.end()
    const facts = {
      event: 'setup',
      dir: result.places.dir,
      version: result.manifest.tensorflowVersion,
      built: result.built,
      ms: Math.round(result.ms),
    }
    process.stdout.write(
      json
        ? `${JSON.stringify(facts)}\n`
        : `TensorFlow ${facts.version} ${facts.built ? 'is set up' : 'was already set up'} in ${facts.dir}\n`,
    )
    return 0
  } finally {
    printer.end()
  }
}
