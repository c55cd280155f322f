import fs from 'node:fs/promises'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { z } from 'zod'
import { byteTokenizerFiles } from './byte-level-files.ts'
import { CheckpointErrors } from './errors.ts'
import { checkedGpt2, fullName, type Gpt2Sizes } from './gpt2-names.ts'
import { openSafetensors } from './read-safetensors.ts'
import type { NamedTensor } from './tensor.ts'
import { writeFile, writeSafetensors } from './write-safetensors.ts'

/** What was read from, or is written to, a Hugging Face folder. Names are those of GPT2LMHeadModel, `transformer.…`. */
export interface Gpt2Weights {
  readonly sizes: Gpt2Sizes
  readonly tensors: readonly NamedTensor[]
}

const byteVocab = 256
const singleFile = 'model.safetensors'
const indexFile = 'model.safetensors.index.json'

/**
 * Writes a folder that `transformers` opens as GPT2LMHeadModel: config.json, model.safetensors (F32) and, for byte tokens, a
 * tokenizer. Returns the names of the files. Tensors may come with or without `transformer.`; they are borrowed.
 *
 * @throws SKEIN_CHECKPOINT_HUGGING_FACE when the tensors are not those of a GPT-2 of these sizes
 */
export async function exportHuggingFace(folder: string, weights: Gpt2Weights): Promise<readonly string[]> {
  const { sizes } = weights
  const tensors = checkedGpt2(weights.tensors, sizes, 'the checkpoint')
  await fs.mkdir(folder, { recursive: true })
  await writeSafetensors(path.join(folder, singleFile), tensors, { metadata: { format: 'pt' } })
  const texts = {
    'config.json': `${JSON.stringify(configOf(sizes), null, 2)}\n`,
    ...(sizes.vocab === byteVocab ? byteTokenizerFiles(sizes.context) : {}),
  }
  for (const [name, text] of Object.entries(texts)) await writeFile(path.join(folder, name), [Buffer.from(text)])
  return [singleFile, ...Object.keys(texts)]
}

function configOf(sizes: Gpt2Sizes) {
  return {
    architectures: ['GPT2LMHeadModel'],
    model_type: 'gpt2',
    vocab_size: sizes.vocab,
    n_positions: sizes.context,
    n_ctx: sizes.context,
    n_embd: sizes.width,
    n_layer: sizes.layers,
    n_head: sizes.heads,
    n_inner: null,
    activation_function: 'gelu_new',
    layer_norm_epsilon: 1e-5,
    initializer_range: 0.02,
    resid_pdrop: 0,
    embd_pdrop: 0,
    attn_pdrop: 0,
    scale_attn_weights: true,
    scale_attn_by_inverse_layer_idx: false,
    reorder_and_upcast_attn: false,
    tie_word_embeddings: true,
    bos_token_id: 0,
    eos_token_id: 0,
    torch_dtype: 'float32',
    use_cache: true,
  }
}

const size = z.int().positive()
/** The fields that decide what a GPT-2 computes. Values other than those accepted here would compute something else. */
const configSchema = z.looseObject({
  model_type: z.literal('gpt2'),
  vocab_size: size,
  n_positions: size,
  n_embd: size,
  n_layer: size,
  n_head: size,
  n_inner: z.int().nullish(),
  activation_function: z.enum(['gelu_new', 'gelu_pytorch_tanh']).default('gelu_new'),
  layer_norm_epsilon: z.literal(1e-5).default(1e-5),
  scale_attn_weights: z.literal(true).default(true),
  scale_attn_by_inverse_layer_idx: z.literal(false).default(false),
  tie_word_embeddings: z.literal(true).default(true),
  add_cross_attention: z.literal(false).default(false),
})

/**
 * Reads a GPT-2 in the Hugging Face format: config.json with model.safetensors, in one file or in shards, names with or without
 * `transformer.`, any float dtype (float32 here). Attention masks (`attn.bias`, `attn.masked_bias`) and the tied `lm_head` are
 * not parameters and are left out. @throws SKEIN_CHECKPOINT_HUGGING_FACE
 */
export async function importHuggingFace(folder: string): Promise<Gpt2Weights> {
  const sizes = await readSizes(path.join(folder, 'config.json'))
  const tensors: NamedTensor[] = []
  for (const name of await weightFiles(folder)) {
    await using file = await openSafetensors(path.join(folder, name))
    for (const stored of file.header.tensors.keys()) {
      if (/(^|\.)attn\.(masked_)?bias$/.test(stored) || stored === 'lm_head.weight') continue
      const tensor = await file.read(stored)
      tensors.push({ ...tensor, name: fullName(stored) })
    }
  }
  return { sizes, tensors: checkedGpt2(tensors, sizes, folder) }
}

async function readSizes(file: string): Promise<Gpt2Sizes> {
  const text = await fs.readFile(file, 'utf8').catch((cause: unknown) => {
    throw refused(`${file} cannot be read`, 'a Hugging Face folder has its config.json beside the weights', cause)
  })
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw refused(`${file} is not JSON`, 'the download was cut off', cause)
  }
  const parsed = configSchema.safeParse(value)
  if (!parsed.success) {
    const listed = parsed.error.issues.map(issue => {
      const key = String(issue.path[0])
      return `${key} = ${JSON.stringify((value as Readonly<Record<string, unknown>> | null)?.[key])} (${issue.message})`
    })
    throw refused(
      `${file} describes a model that Skein does not have: ${listed.join('; ')}`,
      'only plain GPT-2 is read',
    )
  }
  const { n_layer: layers, n_embd: width, n_head: heads, n_positions: context, vocab_size: vocab } = parsed.data
  const inner = parsed.data.n_inner ?? 4 * width
  if (inner !== 4 * width) throw refused(`${file} has n_inner ${inner}, Skein has 4 × n_embd = ${4 * width}`)
  if (width % heads !== 0) throw refused(`${file} has n_embd ${width}, which n_head ${heads} does not divide`)
  return { layers, width, heads, context, vocab }
}

async function weightFiles(folder: string): Promise<readonly string[]> {
  const names = await fs.readdir(folder)
  if (names.includes(singleFile)) return [singleFile]
  if (!names.includes(indexFile)) {
    const others = names.filter(name => name.endsWith('.bin'))
    throw refused(
      `${folder} has neither ${singleFile} nor ${indexFile}${others.length === 0 ? '' : `, only ${others.join(', ')}`}`,
      'pickled weights can run code and are not read',
    )
  }
  const index = z
    .looseObject({ weight_map: z.record(z.string(), z.string().regex(/^[\w.-]+$/)) })
    .safeParse(JSON.parse(await fs.readFile(path.join(folder, indexFile), 'utf8')))
  if (!index.success) throw refused(`${path.join(folder, indexFile)} has no weight_map of file names`)
  return [...new Set(Object.values(index.data.weight_map))].sort()
}

function refused(what: string, why?: string, cause?: unknown): SkeinError {
  return new SkeinError(CheckpointErrors.HUGGING_FACE, {
    what,
    ...(why === undefined ? {} : { why }),
    todo: 'give a folder of a GPT-2 (GPT2LMHeadModel) saved with save_pretrained(folder)',
    ...(cause === undefined ? {} : { cause }),
  })
}
