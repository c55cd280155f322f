import type { AdamW, EveryStep, Gpt2Model, JobInput, JsonlDataInput, TextDataInput } from './job-types.ts'

/** Gives a job file its types; checked when the job is loaded. */
export function defineJob(job: JobInput): JobInput {
  return job
}

/** GPT-2 with byte tokens. About 12·layers·width² + (256 + context)·width parameters. */
export function gpt2(options: {
  readonly layers: number
  readonly width: number
  readonly heads: number
  readonly context: number
  /** Default 256: bytes. */
  readonly vocab?: number
}): Pick<Gpt2Model, 'kind' | 'layers' | 'width' | 'heads' | 'context'> & Partial<Gpt2Model> {
  return { kind: 'gpt2', ...options }
}

/** Folders (or single files) of text, relative to the job file. */
export function textFolder(
  paths: string | readonly string[],
  options: Omit<TextDataInput, 'kind' | 'paths'> = {},
): TextDataInput {
  return { kind: 'text', paths, ...options }
}

/** JSONL files with the document in `text`, relative to the job file. */
export function jsonl(
  paths: string | readonly string[],
  options: Omit<JsonlDataInput, 'kind' | 'paths'> = {},
): JsonlDataInput {
  return { kind: 'jsonl', paths, ...options }
}

/** AdamW with warm-up and a cosine (Loshchilov & Hutter 2017, 2019). */
export function adamw(options: Partial<Omit<AdamW, 'kind'>> = {}): Partial<AdamW> & Pick<AdamW, 'kind'> {
  return { kind: 'adamw', ...options }
}

/** Workers agree on the gradient at every step. */
export function everyStep(): EveryStep {
  return { kind: 'every-step' }
}
