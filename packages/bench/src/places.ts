import { fileURLToPath } from 'node:url'

const fromRoot = (relative: string) => fileURLToPath(new URL(`../../../${relative}`, import.meta.url))

/** Files of the clone that benches run or write to. */
export const places = {
  root: fromRoot('.'),
  cli: fromRoot('packages/cli/dist/main.js'),
  gptJob: fromRoot('packages/examples/gpt.job.ts'),
  results: fromRoot('bench/results'),
}
