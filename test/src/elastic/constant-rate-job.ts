import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

/** A job whose learning rate does not depend on its number of steps, so that a run that was ended can be compared with a shorter one. */
export function constantRateJob(
  folder: string,
  checkpoint: { readonly every?: number } = {},
  more: object = {},
): string {
  const text = path.dirname(createRequire(import.meta.url).resolve('@types/node/package.json'))
  const file = path.join(folder, 'constant.job.yaml')
  const job = {
    model: { kind: 'gpt2', layers: 1, width: 32, heads: 2, context: 32 },
    data: { kind: 'text', paths: [text], include: ['*.d.ts'], exclude: [] },
    optimizer: { kind: 'adamw', lr: 1e-3, schedule: 'constant', warmupSteps: 0 },
    batch: { global: 16 },
    mesh: { dp: 2 },
    steps: 100,
    eval: { every: 0, samples: 16 },
    checkpoint,
    ...more,
  }
  // JSON is YAML.
  fs.writeFileSync(file, JSON.stringify(job))
  return file
}
