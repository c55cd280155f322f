import { nearestName } from '@skein/core'
import { defaultExclude, defaultInclude } from '@skein/data'
import { z } from 'zod'
import { scheduleProblem } from './schedules.ts'

/*
 * The job's schema: default, unit and range of each value, with a line of why. Cross-field rules are in rules.ts, defaults
 * that follow from other values in resolve-job.ts.
 */

/** An object without other keys; an unknown key is answered with the nearest of its own. */
function section<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, {
    error: issue => {
      if (issue.code !== 'unrecognized_keys') return undefined
      const known = Object.keys(shape)
      return issue.keys
        .map(key => {
          const nearest = nearestName(key, known)
          return nearest === undefined
            ? `\`${key}\` (known here: ${known.join(', ')})`
            : `\`${key}\` (did you mean \`${nearest}\`?)`
        })
        .join(', ')
    },
  })
}

const whole = (min: number, max: number) => z.int().min(min).max(max)
const limit = (what: string) => whole(1, 86_400).describe(what).exactOptional()
const paths = z.preprocess(value => (typeof value === 'string' ? [value] : value), z.array(z.string().min(1)).min(1))
const code = <T>(what: string) =>
  z.custom<T>(value => typeof value === 'function', `must be ${what}, so the job must be TypeScript or JavaScript`)

const gpt2 = section({
  kind: z.literal('gpt2'),
  layers: whole(1, 512).describe('Transformer blocks.'),
  width: whole(8, 65_536).describe('Size of the residual stream; a multiple of heads.'),
  heads: whole(1, 1024).describe('Attention heads of a block.'),
  context: whole(2, 1_048_576).describe('Tokens of one sample: what the model can look back on.'),
  vocab: whole(256, 16_777_216).default(256).describe('Tokens it knows. 256: byte tokens.'),
})

const layers = section({
  kind: z.literal('layers'),
  name: z.string().min(1).default('model'),
  build: code('a function (tf) => tf.LayersModel'),
  loss: code('a function ({ tf, output, arrays }) => tf.Tensor'),
  inputs: z.array(z.string().min(1)).min(1).default(['inputs']),
})

const split = {
  heldOut: z
    .number()
    .gt(0)
    .lt(1)
    .default(0.05)
    .describe('Share of the documents to hold out. 5 % measures well and costs little.'),
  splitSeed: whole(0, 2 ** 31 - 1)
    .default(0)
    .describe('Apart from `seed`: runs with other seeds are measured on the same text.'),
  context: whole(2, 1_048_576).optional().describe("Tokens of one sample. Default: the model's context, else 128."),
}

const text = section({
  kind: z.literal('text'),
  paths: paths.describe('Folders or files, relative to the job file.'),
  include: z
    .array(z.string().min(1))
    .min(1)
    .default([...defaultInclude])
    .describe('Patterns of files to take.'),
  exclude: z
    .array(z.string().min(1))
    .default([...defaultExclude])
    .describe('Patterns of files to leave out.'),
  ...split,
})

const jsonl = section({
  kind: z.literal('jsonl'),
  paths: paths.describe('Files with {"text": "…"} a line, relative to the job file.'),
  ...split,
})

const custom = section({ kind: z.literal('custom'), open: code('made by customDataset(…)') })

const adamw = section({
  kind: z.literal('adamw'),
  lr: z.number().gt(0).max(10).default(1e-3).describe('Peak learning rate. Small models bear more than large ones.'),
  betas: z
    .tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)])
    .default([0.9, 0.95])
    .describe('Decay of the moments. 0.95: language models have rare large gradients, to be forgotten soon.'),
  eps: z.number().gt(0).max(1).default(1e-8).describe('Added to the root of the second moment.'),
  weightDecay: z.number().min(0).max(10).default(0.1).describe('Decoupled; on matrices only, not on biases and norms.'),
  clipNorm: z.number().min(0).default(1).describe('Largest L2 norm of the mean gradient; 0 leaves it as it is.'),
  warmupSteps: whole(0, 2 ** 31 - 1)
    .optional()
    .describe('Linear rise to lr. Default: a twentieth of the steps, at most 100.'),
  schedule: z.enum(['cosine', 'constant']).default('cosine').describe('After the warm-up.'),
  minLr: z.number().min(0).optional().describe('Where the cosine ends. Default: lr / 10.'),
})

const time = z.number().min(0)

const schedule = section({
  name: z
    .string()
    .default('1f1b')
    .superRefine((name, context) => {
      const message = scheduleProblem(name)
      if (message !== undefined) context.addIssue({ code: 'custom', message })
    })
    .describe('As in `skein schedule compare`.'),
  chunks: whole(1, 256).optional().describe('Stages that each worker holds. Default: what the rule needs, or 2.'),
  slices: whole(1, 1024).optional().describe('Pieces of the sequence, for the rules that cut it. Default: 4.'),
  recompute: z
    .boolean()
    .default(false)
    .describe(
      'Activations are dropped after the forward pass and made again: less memory for more time. A model of kind "layers" does so anyway; there it changes nothing.',
    ),
  offload: z
    .boolean()
    .default(false)
    .describe('Activations wait in the memory of the host, which is larger than that of the device.'),
  vocabulary: z
    .enum(['whole', 'sharded'])
    .default('whole')
    .describe(
      'sharded: all workers of a replica share look-up and logits, so that a large vocabulary makes no stage slower than the others. GPT-2 only.',
    ),
  cuts: z
    .array(whole(1, 514))
    .optional()
    .describe(
      'First unit of each stage after the first one; 0 is the embedding, then the blocks, then the head. Default: even.',
    ),
  cap: whole(1, 4096).optional().describe('Of auto: the most microbatches that a worker may hold. Default: pp.'),
  costs: section({
    stages: z.array(section({ forward: time, inputGrad: time, weightGrad: time, backward: time })),
    hop: time.default(0),
    linkBusy: time.default(0),
    message: time.default(0),
    vocabulary: section({ lookup: time, logits: time, gradients: time, lookupGrad: time }).optional(),
  })
    .optional()
    .describe(
      'Of auto and of a sharded vocabulary: the times in ms that its passes are placed for, as `skein plan` prints them. Default: all passes alike.',
    ),
})

const everyStep = section({ kind: z.literal('every-step') })

/** One of several sections, told apart by `kind`; an unknown kind is answered with the nearest. */
function oneOf<const Options extends readonly [z.ZodObject, ...z.ZodObject[]]>(options: Options, helpers: string) {
  const kinds = options.map(option => String((option.shape['kind'] as z.ZodLiteral).value))
  return z.discriminatedUnion('kind', options, {
    error: issue => {
      if (issue.code !== 'invalid_union') return undefined
      const kind = (issue.input as { readonly kind?: unknown } | null)?.kind
      const nearest = typeof kind === 'string' ? nearestName(kind, kinds) : undefined
      const hint = nearest === undefined ? '' : `; did you mean ${JSON.stringify(nearest)}?`
      return `must have a \`kind\` of ${kinds.map(k => JSON.stringify(k)).join(', ')} (in TypeScript: ${helpers})${hint}`
    },
  })
}

export const jobSchema = section({
  name: z
    .string()
    .regex(/^[\w.-]{1,80}$/, 'may have letters, digits, `_`, `.` and `-`: it becomes a folder')
    .optional()
    .describe('Names the run. Default: the file name.'),
  model: oneOf([gpt2, layers], 'gpt2(…), layersModel(…)'),
  data: z.preprocess(
    value => (typeof value === 'string' ? { kind: 'text', paths: [value] } : value),
    oneOf([text, jsonl, custom], 'textFolder(…), jsonl(…), customDataset(…)'),
  ),
  optimizer: z.preprocess(
    value => (typeof value === 'object' && value !== null && !('kind' in value) ? { kind: 'adamw', ...value } : value),
    oneOf([adamw], 'adamw(…)').prefault({ kind: 'adamw' }),
  ),
  sync: oneOf([everyStep], 'everyStep()').default({ kind: 'every-step' }),
  batch: section({
    global: whole(1, 16_777_216).describe('Samples of one step over all workers; does not change with their number.'),
    micro: whole(1, 65_536)
      .optional()
      .describe(
        'Samples of one forward and backward pass: more is faster, less takes less memory. Default: at most 8.',
      ),
    shares: z
      .enum(['equal', 'measured'])
      .default('equal')
      .describe('"measured": slower workers get fewer samples; the price is that a run does not repeat bit by bit.'),
  }),
  mesh: section({
    dp: whole(1, 4096).default(1).describe('Replicas of the model that share a batch (data parallel).'),
    pp: whole(1, 256).default(1).describe('Parts that a replica is cut in, a worker each (pipeline parallel).'),
  }).prefault({}),
  schedule: z
    .preprocess(value => (typeof value === 'string' ? { name: value } : value), schedule)
    .optional()
    .describe('Who computes what when, where mesh.pp is above 1; a name alone is enough. Default: 1f1b.'),
  steps: whole(1, 2 ** 31 - 1).describe('Optimizer steps.'),
  eval: section({
    every: whole(0, 2 ** 31 - 1)
      .optional()
      .describe('Steps between evaluations; 0: only before and after. Default: a tenth of the steps.'),
    samples: whole(1, 16_777_216)
      .default(256)
      .describe(
        'Held-out samples, at most; where mesh.pp is above 1, at least batch.micro. 256 of 128 tokens: ±1 % or so.',
      ),
  }).prefault({}),
  checkpoint: section({
    every: whole(0, 2 ** 31 - 1)
      .default(100)
      .describe('Steps between checkpoints; 0: only at the end.'),
    to: z.string().min(1).default('./runs').describe('Folder of the runs, relative to the current folder.'),
    keep: whole(0, 100_000).default(3).describe('Checkpoints of a run that stay; 0: all.'),
    dir: z
      .string()
      .min(1)
      .optional()
      .describe(
        'Checkpoints go here instead of to the folder of the run, each run below its own name: a folder, or s3://BUCKET/PREFIX (?endpoint=URL).',
      ),
    shardMiB: whole(1, 4096).default(256).describe('Largest file of a checkpoint; a tensor is never cut.'),
  }).prefault({}),
  seed: whole(0, 2 ** 31 - 1)
    .default(1)
    .describe('Of first weights and order of samples. Same seed, same run.'),
  precision: z.enum(['f32', 'bf16']).default('f32').describe('Of matrix products; parameters are always float32.'),
  elastic: section({
    min: whole(1, 4096).exactOptional(),
    max: whole(1, 4096).exactOptional(),
    mirror: section({
      every: whole(1, 2 ** 31 - 1).describe(
        'Steps between two that every worker and a neighbour keep a copy of in memory, where mesh.pp is above 1.',
      ),
    }).exactOptional(),
    limits: section({
      prepareSeconds: limit('From a change of members until all have state and connections; default 300.'),
      stepSeconds: limit('From one committed step to the next; default 600.'),
      finishSeconds: limit(
        'Between two signs of life after the last step, while it is evaluated and saved; default 300.',
      ),
    })
      .exactOptional()
      .describe('Longest waits. Where things go fast, less is waited.'),
  })
    .optional()
    .describe('Workers the run may shrink and grow to; it uses whole replicas, mesh.pp workers each.'),
})

export type ParsedJob = z.infer<typeof jobSchema>
