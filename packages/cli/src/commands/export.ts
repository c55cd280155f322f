import path from 'node:path'
import { exportHuggingFace } from '@skein/checkpoint'
import type { Environment } from '../environment.ts'
import { readTrainedModel } from '../trained-model.ts'

/** `skein export`: a checkpoint as a Hugging Face folder. */
export async function exportModel(options: {
  readonly checkpoint: string
  readonly out: string
  readonly format: 'hf'
  readonly json: boolean
  readonly environment: Environment
}): Promise<number> {
  const model = await readTrainedModel(options.checkpoint, options.environment.store)
  const out = path.resolve(options.out)
  const files = await exportHuggingFace(out, model)
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ event: 'exported', format: options.format, from: model.folder, out, files })}\n`
      : `wrote ${files.join(', ')} to ${out}\n`,
  )
  return 0
}
