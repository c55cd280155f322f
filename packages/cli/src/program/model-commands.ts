import { nonNegative, oneOf, wholeNumber } from '../option-values.ts'
import type { CommandSet } from './command-set.ts'

/** Commands for a model that was trained. */
export function addModelCommands({ command, deviceOption, jsonOption, environment, outcome }: CommandSet): void {
  command('generate', 'continue a text with a trained model')
    .requiredOption('--checkpoint <path>', 'checkpoint, folder of checkpoints, run folder or Hugging Face folder')
    .requiredOption('--prompt <text>', 'the text to continue')
    .option('--tokens <n>', 'tokens to generate', wholeNumber('--tokens', 1, 1_000_000), 200)
    .option(
      '--temperature <t>',
      'below 1 safer, above 1 wilder; 0 takes the likeliest token',
      nonNegative('--temperature'),
      0.8,
    )
    .option('--top-k <k>', 'draw from the k likeliest tokens (default: all)', wholeNumber('--top-k', 1))
    .option('--seed <n>', 'same seed, same text', wholeNumber('--seed', 0), 0)
    .addOption(deviceOption())
    .addOption(jsonOption())
    .action(async options => {
      const { generate } = await import('../commands/generate.ts')
      outcome.status = await generate({ ...options, environment })
    })

  command('score', 'log-probability of each token of a text: {"tokens": […], "logprobs": […]}')
    .requiredOption('--checkpoint <path>', 'checkpoint, folder of checkpoints, run folder or Hugging Face folder')
    .requiredOption('--text <text>', 'the text')
    .addOption(deviceOption())
    .addOption(jsonOption())
    .action(async options => {
      const { score } = await import('../commands/score.ts')
      outcome.status = await score({ ...options, environment })
    })

  command('export', 'write a checkpoint in a format that other tools read')
    .requiredOption('--checkpoint <path>', 'checkpoint, folder of checkpoints or run folder')
    .requiredOption('--out <dir>', 'folder to write')
    .option(
      '--format <name>',
      'hf: Hugging Face (config.json, safetensors, tokenizer)',
      oneOf('--format', ['hf']),
      'hf',
    )
    .addOption(jsonOption())
    .action(async options => {
      const { exportModel } = await import('../commands/export.ts')
      outcome.status = await exportModel({ ...options, environment })
    })
}
