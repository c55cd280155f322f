import { encodeText } from '@skein/data'
import { score as scoreTokens } from '@skein/model'
import type { Environment } from '../environment.ts'
import { usage } from '../option-values.ts'
import { openTextModel } from '../text-model.ts'

/**
 * `skein score`: prints one object, `tokens` (ids of all tokens of the text) and `logprobs` (natural log-probability of each
 * token after the first, given those before it: one fewer).
 */
export async function score(options: {
  readonly checkpoint: string
  readonly text: string
  readonly device?: string
  readonly environment: Environment
}): Promise<number> {
  const tokens = [...encodeText(options.text)]
  if (tokens.length === 0) throw usage('--text is empty', 'pass at least one character')
  using opened = await openTextModel(options.checkpoint, {
    device: options.device,
    store: options.environment.store,
  })
  const logprobs = scoreTokens(opened.model, opened.params, tokens)
  process.stdout.write(`${JSON.stringify({ tokens, logprobs })}\n`)
  return 0
}
