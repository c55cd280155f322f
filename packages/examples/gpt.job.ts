/**
 * A GPT of 3.3 M parameters learns TypeScript's type declarations, byte by byte, on four workers. What `npm start` runs.
 *
 *   scripts/skein train packages/examples/gpt.job.ts
 *   scripts/skein train packages/examples/gpt.job.ts --data ~/my-notes --workers 2 --steps 100
 */
import { adamw, defineJob, gpt2, textFolder } from '@skein/job'
import { typeDeclarations } from './type-declarations.ts'

export default defineJob({
  model: gpt2({ layers: 4, width: 256, heads: 8, context: 128 }),
  // The libraries for web workers repeat those for web pages: held out, they would be no test.
  data: textFolder(typeDeclarations().all, { include: ['**/*.d.ts'], exclude: ['lib.webworker*'] }),
  optimizer: adamw({ lr: 2e-3 }),
  batch: { global: 32 }, // 8 samples a worker, in one microbatch
  mesh: { dp: 4 },
  steps: 200,
  eval: { every: 50, samples: 256 },
  checkpoint: { every: 50 },
})
