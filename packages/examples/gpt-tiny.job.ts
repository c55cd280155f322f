/**
 * A GPT of 0.1 M parameters on Node's type declarations: seconds on any machine, also on the wasm backend. For trying things.
 *
 *   scripts/skein train packages/examples/gpt-tiny.job.ts --workers 2
 */
import { adamw, defineJob, gpt2, textFolder } from '@skein/job'
import { typeDeclarations } from './type-declarations.ts'

export default defineJob({
  model: gpt2({ layers: 2, width: 64, heads: 4, context: 64 }),
  data: textFolder(typeDeclarations().node, { include: ['**/*.d.ts'], exclude: [] }),
  optimizer: adamw({ lr: 3e-3 }),
  batch: { global: 16 },
  mesh: { dp: 2 },
  steps: 200,
  eval: { every: 50, samples: 64 },
})
