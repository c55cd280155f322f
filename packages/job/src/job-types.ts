import type { CustomData } from '@skein/data'
import type { VocabularyTimes } from '@skein/schedule'
import type { LayersModelSpec } from './layers-model.ts'

/** GPT-2: learned positions, pre-norm blocks, tanh GELU, tied embeddings. */
export interface Gpt2Model {
  readonly kind: 'gpt2'
  readonly layers: number
  readonly width: number
  readonly heads: number
  /** Tokens of one sample, T. */
  readonly context: number
  readonly vocab: number
}

/** A model of the job file's own code; the worker imports `moduleFile` of the job for it. */
export interface CodeModel {
  readonly kind: 'layers'
  readonly name: string
}

export interface TextData {
  readonly kind: 'text'
  /** Folders or single files, absolute. */
  readonly paths: readonly string[]
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  /** Share of the documents to hold out. */
  readonly heldOut: number
  readonly splitSeed: number
  /** Tokens of one sample: the model's context. */
  readonly context: number
}

export interface JsonlData {
  readonly kind: 'jsonl'
  /** Absolute. */
  readonly paths: readonly string[]
  readonly heldOut: number
  readonly splitSeed: number
  /** Tokens of one sample: the model's context. */
  readonly context: number
}

/** Data of the job file's own code. */
export interface CodeData {
  readonly kind: 'custom'
}

export interface AdamW {
  readonly kind: 'adamw'
  /** Peak learning rate. */
  readonly lr: number
  readonly betas: readonly [number, number]
  readonly eps: number
  readonly weightDecay: number
  /** Largest L2 norm of the mean gradient; 0 leaves it as it is. */
  readonly clipNorm: number
  readonly warmupSteps: number
  readonly schedule: 'cosine' | 'constant'
  /** Where the cosine ends. */
  readonly minLr: number
}

/** Gradients are summed over all workers at every step. */
export interface EveryStep {
  readonly kind: 'every-step'
}

export type Precision = 'f32' | 'bf16'
/** Where a value came from. */
export type ValueSource = 'default' | 'job' | 'flag'

/**
 * `equal`: all workers take as many samples of a step, and a run gives the same bits every time. `measured`: each takes as many as it is
 * fast; sums in another order are other bits, so two runs agree but for rounding.
 */
export type Shares = 'equal' | 'measured'

/** Who computes what when in a pipeline: a rule of `@skein/schedule` and its numbers. */
export interface JobSchedule {
  readonly name: string
  /** Stages that each worker holds; the pipe has pp · chunks. */
  readonly chunks: number
  /** Pieces of the sequence; 1: it is not cut. */
  readonly slices: number
  /** Activations are dropped after the forward pass and made again before the backward pass. */
  readonly recompute: boolean
  /** Activations wait for their backward pass on the host. */
  readonly offload: boolean
  /** `sharded`: every worker of a replica has as many rows of the vocabulary, for look-up and logits; `whole`: the first and the last stage have it. */
  readonly vocabulary: 'whole' | 'sharded'
  /**
   * First unit of each stage after the first one, rising; unit 0 is the embedding, then come the blocks, then the head. Absent: the model
   * cuts itself evenly.
   */
  readonly cuts?: readonly number[]
  /** Of `auto`: the most microbatches that a worker may hold; absent: pp. */
  readonly cap?: number
  /**
   * As `skein plan` finds them: what `auto` is searched for, and the passes of a sharded vocabulary are placed by. Absent: all passes take as long, and
   * messages nothing.
   */
  readonly costs?: ScheduleCosts
}

/** Times in ms of one microbatch. */
export interface ScheduleCosts {
  /** By stage. */
  readonly stages: readonly {
    readonly forward: number
    readonly inputGrad: number
    readonly weightGrad: number
    readonly backward: number
  }[]
  /** From the end of a pass until its result begins to arrive. */
  readonly hop: number
  /** How long a message holds its link. */
  readonly linkBusy: number
  /** Of the device, for a message at each of its ends. */
  readonly message: number
  /** Of one rank's part of a sharded vocabulary. */
  readonly vocabulary?: VocabularyTimes
}

/** A job with nothing left open: plain JSON, the same on every worker. */
export interface ResolvedJob {
  /** Names the run; file-name safe. */
  readonly name: string
  readonly model: Gpt2Model | CodeModel
  readonly data: TextData | JsonlData | CodeData
  readonly optimizer: AdamW
  readonly sync: EveryStep
  /** Samples of one step over all workers, and of one forward and backward pass. */
  readonly batch: { readonly global: number; readonly micro: number; readonly shares: Shares }
  /** `dp` replicas of the model, each cut in `pp` parts: dp · pp workers. */
  readonly mesh: { readonly dp: number; readonly pp: number }
  /** Absent where the model is not cut: pp is 1. */
  readonly schedule?: JobSchedule
  readonly steps: number
  /** Held-out samples to measure, every so many steps; 0 only before and after. */
  readonly eval: { readonly every: number; readonly samples: number }
  readonly checkpoint: {
    /** Steps between two; 0: only at the end. */
    readonly every: number
    /** Folder of the runs, absolute. */
    readonly to: string
    /** How many stay; 0: all. */
    readonly keep: number
    /** Where runs have their checkpoints instead of in their own folders: an absolute folder, or `s3://…`. */
    readonly dir?: string
    /** Largest file. */
    readonly shardMiB: number
  }
  readonly seed: number
  readonly precision: Precision
  readonly elastic?: Elastic
  /** The job file, absolute. */
  readonly jobFile: string
  /** The module with the code of model or data, absolute; only for jobs that have such. Workers import the same file. */
  readonly moduleFile?: string
  /** Source of each value, by dotted path ("optimizer.lr"). */
  readonly sources: Readonly<Record<string, ValueSource>>
}

type Optional<T, Required extends keyof T> = Partial<Omit<T, Required>> & Pick<T, Required>

/** In workers; a generation has whole replicas of them. */
export interface Elastic {
  readonly min?: number
  readonly max?: number
  /** Where mesh.pp is above 1: every so many steps each worker keeps its own part and that of a neighbour in memory. */
  readonly mirror?: { readonly every: number }
  /** Longest waits, of the run as a whole. */
  readonly limits?: {
    readonly prepareSeconds?: number
    readonly stepSeconds?: number
    readonly finishSeconds?: number
  }
}

/** What a job file says: everything but model, data, batch.global and steps has a default. */
export interface JobInput {
  readonly name?: string
  readonly model: Optional<Gpt2Model, 'kind' | 'layers' | 'width' | 'heads' | 'context'> | LayersModelSpec
  /** A path alone is a folder of text. */
  readonly data: string | TextDataInput | JsonlDataInput | CustomData
  readonly optimizer?: Optional<AdamW, 'kind'>
  readonly sync?: EveryStep
  readonly batch: { readonly global: number; readonly micro?: number; readonly shares?: Shares }
  readonly mesh?: { readonly dp?: number; readonly pp?: number }
  /** A name alone is a schedule with its defaults. */
  readonly schedule?: string | Partial<JobSchedule>
  readonly steps: number
  readonly eval?: { readonly every?: number; readonly samples?: number }
  readonly checkpoint?: {
    readonly every?: number
    readonly to?: string
    readonly keep?: number
    readonly dir?: string
    readonly shardMiB?: number
  }
  readonly seed?: number
  readonly precision?: Precision
  readonly elastic?: Elastic
}

/** Paths are relative to the job file. */
export interface TextDataInput extends Optional<Omit<TextData, 'paths'>, 'kind'> {
  readonly paths: string | readonly string[]
}

export interface JsonlDataInput extends Optional<Omit<JsonlData, 'paths'>, 'kind'> {
  readonly paths: string | readonly string[]
}
