import { asSkeinError } from '@skein/core'
import { userCacheDir } from './places.ts'
import { progressPrinter } from './print-progress.ts'
import { setupBestRuntime } from './setup.ts'

// Sets the runtime up for whoever has the packages but not yet the CLI: `node packages/device/dist/runtime/setup-main.js [--verify]`.
// Progress on stderr; on stdout one line, the runtime's folder, once it is in the cache. Exit status 0: it is. 1: it is not,
// and stderr says why. 130: it was interrupted.
const ending = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => ending.abort())

const printer = progressPrinter(process.stderr)
const say = (error: { readonly code: string; readonly message: string }) =>
  process.stderr.write(`${error.code}: ${error.message}\n`)
try {
  const result = await setupBestRuntime({
    cacheDir: userCacheDir(),
    signal: ending.signal,
    onProgress: printer.report,
    onFallback: say,
    verify: process.argv.includes('--verify'),
  })
  printer.end()
  process.stdout.write(`${result.places.dir}\n`)
} catch (thrown) {
  printer.end()
  say(asSkeinError(thrown))
  process.exitCode = ending.signal.aborted ? 130 : 1
}
