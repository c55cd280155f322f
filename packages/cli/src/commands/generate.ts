import type { Environment } from '../environment.ts'
import { decodeTokens, documentSeparator, encodeText, tokenDecoder } from '@skein/data'
import { generate as continueText } from '@skein/model'
import { openTextModel } from '../text-model.ts'

export interface GenerateCommandOptions {
  readonly checkpoint: string
  readonly environment: Environment
  readonly prompt: string
  readonly tokens: number
  readonly temperature: number
  /** Undefined: all tokens. */
  readonly topK?: number
  readonly seed: number
  readonly device?: string
  readonly json: boolean
}

/** `skein generate`: prints the prompt and what the model makes of it, token by token; with --json one object at the end. */
export async function generate(options: GenerateCommandOptions): Promise<number> {
  const { json, seed, temperature } = options
  using opened = await openTextModel(options.checkpoint, {
    device: options.device,
    store: options.environment.store,
  })
  const { model, params } = opened
  const promptTokens = [...encodeText(options.prompt)]
  const decoder = tokenDecoder()
  const say = (text: string) => {
    if (!json) process.stdout.write(process.stdout.isTTY ? withoutControls(text) : text)
  }
  say(options.prompt)
  // Every document of the training text begins after a separator: that is what stands before an empty prompt.
  const tokens = continueText(model, params, promptTokens.length === 0 ? [documentSeparator] : promptTokens, {
    tokens: options.tokens,
    temperature,
    topK: options.topK ?? 0,
    seed,
    onToken: token => say(decoder.push(token)),
  })
  say(`${decoder.end()}\n`)
  if (json) {
    const facts = { event: 'generated', prompt: options.prompt, text: decodeTokens(tokens), tokens }
    process.stdout.write(`${JSON.stringify(facts)}\n`)
  }
  return 0
}

/** A model may draw any byte; on a terminal those that would steer it are shown as dots. */
function withoutControls(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]/gu, '·')
}
