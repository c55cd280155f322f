import { asSkeinError } from '@skein/core'
import { progressPrinter } from './print-progress.ts'
import { setupRuntime } from './setup.ts'

// Sets the runtime up for whoever has the packages but not yet the CLI: `node packages/device/dist/runtime/setup-main.js`.
// Progress on stderr, nothing on stdout. Exit status 0: it is in the cache. 1: it is not, and stderr says why.
const ending = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => ending.abort())

const printer = progressPrinter(process.stderr)
try {
  await setupRuntime({
    signal: ending.signal,
    onProgress: printer.report,
    verify: process.argv.includes('--verify'),
  })
  printer.end()
} catch (thrown) {
  printer.end()
  const error = asSkeinError(thrown)
  process.stderr.write(`${error.code}: ${error.message}\n`)
  process.exitCode = ending.signal.aborted ? 130 : 1
}
