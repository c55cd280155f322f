import type { Collectives, Messages, TensorRegion } from '@skein/collective'
import { type Clock, partOf, replicaOf, SkeinError } from '@skein/core'
import type { Dataset } from '@skein/data'
import type { Batch, LossSum, PipelineModel } from '@skein/model'
import {
  BucketReducer,
  type ListContext,
  type ListReport,
  Mailbox,
  mailboxBytes,
  type PipelineMesh,
  rankAt,
  runList,
  type SharedBucket,
  sharedBuckets,
  StateChain,
  type StepState,
  vocabularyBytes,
  VocabularyExchange,
} from '@skein/parallel'
import { forwardSchedule, lower, type Schedule, withReductions } from '@skein/schedule'
import type { Region, Simd } from '@skein/simd'
import { TrainerErrors } from './errors.ts'
import { evaluationSamples } from './evaluation-samples.ts'
import { runsOf } from './share.ts'
import type { StepGradients, Strategy } from './strategy.ts'
import type { TrainingState } from './training-state.ts'

export interface PipelineParallelOptions {
  readonly mesh: PipelineMesh
  /** Of the mesh. */
  readonly rank: number
  /** What this rank holds. */
  readonly model: PipelineModel
  /** For the microbatches of a replica; as a family generates it, messages not written out. */
  readonly schedule: Schedule
  readonly dataset: Dataset
  readonly state: TrainingState
  readonly simd: Simd
  /** All ranks of the mesh. */
  readonly world: Pick<Collectives, 'allReduce'>
  /** Among the same. */
  readonly messages: Messages
  /** By number, as `sharedBuckets` has them, and `vocabularyGroups`. */
  readonly groups: ReadonlyMap<number, Pick<Collectives, 'allReduce' | 'reduce' | 'broadcast' | 'allGather'>>
  readonly memory: WebAssembly.Memory
  /** For messages: at least `PipelineParallel.messageBytes`. */
  readonly messageMemory: Region
  readonly clock: Clock
  readonly batch: { readonly global: number; readonly micro: number }
  /** @throws what ended the generation */
  check(): void
  liveTensors(): number
  /**
   * Where the schedule validates its updates afterwards: told what all ranks know of the step before, while this one has begun. The update is to be what it
   * should be when this returns; whether every rank's was so before.
   */
  readonly onVerdict?: ((truth: StepState) => boolean) | undefined
  /** What the device did in a step; for traces. */
  readonly onTimeline?: (step: number, report: ListReport) => void
}

/**
 * Each replica is a pipeline: a rank has some stages of the model and runs its list of the schedule. Gradients of a stage are summed over its
 * copies as soon as the last one is made, beside what the device has still to do; those of tied parameters over all that have them.
 */
export class PipelineParallel implements Strategy {
  readonly #options: PipelineParallelOptions
  readonly #schedule: Schedule
  readonly #mail: Mail
  readonly #evaluations = new Map<number, Forwards>()
  readonly #buckets: readonly SharedBucket[]
  readonly #part: number
  readonly #replica: number
  /** Samples of this replica in a step. */
  readonly #share: number
  /** Where updates are validated afterwards. */
  readonly #chain: StateChain | undefined
  /** The step whose verdict has not come. */
  #inDoubt: number | undefined

  /** @throws SKEIN_TRAINER_NOT_VALIDATED */
  constructor(options: PipelineParallelOptions) {
    const { mesh, rank, model, schedule, batch } = options
    const isValidated = schedule.updates === 'validated'
    if (isValidated !== (options.onVerdict !== undefined)) throw notValidated(schedule)
    this.#options = options
    this.#schedule = lower(withReductions(schedule))
    this.#buckets = sharedBuckets(model, mesh, schedule)
    this.#part = partOf(rank, mesh.pp)
    this.#replica = replicaOf(rank, mesh.pp)
    this.#share = batch.global / mesh.dp
    this.#mail = this.#mailFor(this.#schedule)
    this.#chain = isValidated ? this.#openChain() : undefined
  }

  /** Shared memory for the messages of training and evaluation on one rank. */
  static messageBytes(schedule: Schedule, part: number, model: PipelineModel): number {
    const bytes = (lowered: Schedule) =>
      mailboxBytes(lowered, part, model.stages) + vocabularyBytes(lowered, model.vocabulary)
    const chain = schedule.updates === 'validated' ? StateChain.bytes : 0
    return chain + Math.max(bytes(lower(schedule)), bytes(lower(forwardSchedule(schedule, schedule.microbatches))))
  }

  /** Where updates are validated afterwards, sums of losses, samples and squares are those of the ranks up to this one in their pipe. */
  async gradients(step: number): Promise<StepGradients> {
    const { dataset, state, clock, batch } = this.#options
    const from = (step - 1) * batch.global + this.#replica * this.#share
    const to = from + this.#share
    const runs = runsOf(from, to, batch.micro)
    const begin = () => this.#begin(microbatch => dataset.batch('train', runs[microbatch] as number[]))
    // Those of a step in doubt may be needed once more.
    if (this.#inDoubt === undefined) state.gradientView().fill(0)
    begin()
    this.#chain?.begin(step)
    const reducer = this.#reducer()
    const report = await this.#run(this.#schedule, this.#mail, step, {
      onReduce: stage => reducer.stageDone(stage),
      validation: {
        verdict: async () => {
          const stands = await this.settle()
          state.gradientView().fill(0)
          return stands
        },
        beginAgain: begin,
      },
    })
    this.#options.onTimeline?.(step, report)
    const listedMs = clock.now()
    await reducer.settled()
    const { lossSum, samples, sumSquares } = await this.#known(step)
    const computeMs = report.ops.reduce((sum, op) => sum + op.end - op.start, 0)
    return {
      lossSum,
      samples,
      sumSquares,
      took: [from, to],
      computeMs,
      waitMs: report.waitMs + (clock.now() - listedMs),
    }
  }

  /**
   * Waits for the verdict on a step that is in doubt; without one nothing happens. Before the state of a step is evaluated, saved or handed on, and where no
   * step follows. @returns whether every rank's update was as it should be
   */
  async settle(): Promise<boolean> {
    if (this.#inDoubt === undefined || this.#chain === undefined) return true
    const truth = await this.#chain.verdict(this.#inDoubt)
    this.#inDoubt = undefined
    return this.#options.onVerdict?.(truth) ?? true
  }

  /**
   * Whole microbatches, shared among the replicas one by one; as many at a time as a step has, for which there are buffers.
   * @throws SKEIN_TRAINER_FEW_HELD_OUT where there is not even one
   */
  async evaluate(wanted: number): Promise<number> {
    const { mesh, dataset, batch, model } = this.#options
    const count = evaluationSamples(wanted, dataset.numValSamples, batch.micro)
    if (count < batch.micro) throw fewHeldOut(count, batch.micro)
    const runs = runsOf(0, count, batch.micro).filter((_, index) => index % mesh.dp === this.#replica)
    const own = { lossSum: 0, samples: 0 }
    for (let from = 0; from < runs.length; from += this.#schedule.microbatches) {
      const round = runs.slice(from, from + this.#schedule.microbatches)
      this.#begin(microbatch => dataset.batch('val', round[microbatch] as number[]))
      const { schedule, mail } = this.#forwards(round.length)
      await this.#run(schedule, mail, 0, { isEvaluation: true })
      const { lossSum, samples } = lossOf(model)
      own.lossSum += lossSum
      own.samples += samples
    }
    const [lossSum, samples] = await this.#summed(own, 0)
    for (const stage of model.stages.values()) stage.reset()
    model.vocabulary?.reset()
    return lossSum / samples
  }

  liveTensors(): number {
    return this.#options.liveTensors()
  }

  #begin(batchOf: (microbatch: number) => Batch): void {
    const { model, state } = this.#options
    const batches = new Map<number, Batch>()
    const batch = (microbatch: number) => {
      const known = batches.get(microbatch) ?? batchOf(microbatch)
      batches.set(microbatch, known)
      return known
    }
    const step = { batch, params: state.params(), gradients: state.gradientView() }
    for (const stage of model.stages.values()) stage.begin(step)
    model.vocabulary?.begin(step)
  }

  #run(
    schedule: Schedule,
    mail: Mail,
    step: number,
    how: Pick<ListContext, 'onReduce' | 'validation' | 'isEvaluation'>,
  ): Promise<ListReport> {
    const { model, clock } = this.#options
    const check = () => this.#options.check()
    return runList({ schedule, rank: this.#part, stages: model.stages, ...mail, clock, check, ...how }, step)
  }

  /** For an evaluation of so many microbatches: there are two such numbers, that of a step and what is left. */
  #forwards(microbatches: number): Forwards {
    const known = this.#evaluations.get(microbatches)
    if (known !== undefined) return known
    const schedule = lower(forwardSchedule(this.#schedule, microbatches))
    const made = { schedule, mail: this.#mailFor(schedule) }
    this.#evaluations.set(microbatches, made)
    return made
  }

  /** Only one is in use at a time, so they may share the memory. */
  #mailFor(schedule: Schedule): Mail {
    const { mesh, model, messages, groups, memory, messageMemory } = this.#options
    const own = { schedule, rank: this.#part, memory }
    const mailbox = new Mailbox({
      ...own,
      stages: model.stages,
      groupRankOf: part => rankAt(mesh, this.#replica, part),
      messages,
      region: messageMemory,
    })
    if (schedule.vocabulary === undefined || model.vocabulary === undefined) return { mailbox }
    const bytes = mailboxBytes(schedule, this.#part, model.stages)
    const region = { byteOffset: messageMemory.byteOffset + bytes, bytes: messageMemory.bytes - bytes }
    return { mailbox, vocabulary: new VocabularyExchange({ ...own, part: model.vocabulary, groups, region }) }
  }

  #reducer(): BucketReducer {
    const { model, state, groups } = this.#options
    const { layout, stages } = model
    const { gradients } = state
    return new BucketReducer({ layout, buckets: this.#buckets, stages: [...stages.keys()], gradients, groups })
  }

  /** Of all ranks; in the pipes of a validated schedule, of the ranks up to this one. */
  async #known(step: number): Promise<Summed> {
    const own = lossOf(this.#options.model)
    if (this.#chain === undefined) {
      const [lossSum, samples, sumSquares] = await this.#summed(
        own,
        this.#ownSumSquares(ranks => ranks[0]),
      )
      return { lossSum, samples, sumSquares }
    }
    // Every pipe sums for itself, in the same order: a bucket counts on its first rank in each.
    const { mesh } = this.#options
    const inPipe = (ranks: readonly number[]) => ranks.find(rank => replicaOf(rank, mesh.pp) === this.#replica)
    const known = await this.#chain.passOn(step, {
      ...(await this.#lossOfReplicas(own)),
      sumSquares: this.#ownSumSquares(inPipe),
    })
    this.#inDoubt = step
    return known
  }

  /**
   * Summed over the copies of the last stage, which are in a group already. Elsewhere it is what regularisers add, the same in each replica: they have
   * the same parameters and as many samples.
   */
  async #lossOfReplicas(own: LossSum): Promise<LossSum> {
    const { mesh, model, groups, state } = this.#options
    const last = model.numStages - 1
    if (mesh.dp === 1 || !model.stages.has(last)) return { ...own, lossSum: mesh.dp * own.lossSum }
    const bucket = this.#buckets.find(({ stages }) => stages.length === 1 && stages[0] === last)
    const group = bucket === undefined ? undefined : groups.get(bucket.groupNumber)
    if (group === undefined) throw new Error('the copies of the last stage have no group')
    const region: TensorRegion = { byteOffset: state.scalars.byteOffset, elems: 2, dtype: 'float32' }
    const scalars = new Float32Array(state.sharedBuffer, region.byteOffset, region.elems)
    scalars.set([own.lossSum, own.samples])
    await group.allReduce(region)
    return { lossSum: scalars[0] as number, samples: scalars[1] as number }
  }

  #openChain(): StateChain {
    const { mesh, messages, memory, messageMemory } = this.#options
    const byteOffset = messageMemory.byteOffset + messageMemory.bytes - StateChain.bytes
    return new StateChain({
      rank: this.#part,
      ranks: mesh.pp,
      groupRankOf: part => rankAt(mesh, this.#replica, part),
      messages,
      memory,
      region: { byteOffset, bytes: StateChain.bytes },
    })
  }

  /** Of the buckets that count here: each counts on one of the ranks that have it. */
  #ownSumSquares(countsOn: (ranks: readonly number[]) => number | undefined): number {
    const { rank, model, simd, state } = this.#options
    return this.#buckets.reduce((sum, { index, ranks }) => {
      if (countsOn(ranks) !== rank) return sum
      const { offset, elems } = model.layout.buckets[index] as { offset: number; elems: number }
      return sum + simd.sumSquares(state.gradients.byteOffset + offset * 4, elems)
    }, 0)
  }

  /** Loss, samples and squares of all ranks. */
  async #summed(
    { lossSum, samples }: LossSum,
    squares: number,
  ): Promise<readonly [lossSum: number, samples: number, squares: number]> {
    const { state, world } = this.#options
    const region: TensorRegion = { byteOffset: state.scalars.byteOffset, elems: 3, dtype: 'float32' }
    const scalars = new Float32Array(state.sharedBuffer, region.byteOffset, region.elems)
    scalars.set([lossSum, samples, squares])
    await world.allReduce(region)
    return [scalars[0] as number, scalars[1] as number, scalars[2] as number]
  }
}

type Summed = Pick<StepGradients, 'lossSum' | 'samples' | 'sumSquares'>

interface Forwards {
  readonly schedule: Schedule
  readonly mail: Mail
}

interface Mail {
  readonly mailbox: Mailbox
  readonly vocabulary?: VocabularyExchange
}

/** Of the last stages, where they are here; all parts of a vocabulary know the loss, and the one beside the last stage counts. */
function lossOf(model: PipelineModel): LossSum {
  const vocabulary = model.stages.has(model.numStages - 1) ? model.vocabulary : undefined
  const losses = [...model.stages.values(), ...(vocabulary === undefined ? [] : [vocabulary])].map(part => part.loss())
  return {
    lossSum: losses.reduce((sum, loss) => sum + loss.lossSum, 0),
    samples: losses.reduce((sum, loss) => sum + loss.samples, 0),
  }
}

function notValidated({ name, updates }: Schedule): SkeinError {
  return new SkeinError(TrainerErrors.NOT_VALIDATED, {
    what:
      updates === 'validated'
        ? `the schedule ${name} updates before the global state is known, and nobody here takes such an update back`
        : `a verdict on updates was asked for, and the schedule ${name} makes none in doubt`,
    why: 'the steps of a job are committed as they are made, and a validated schedule knows its step only while the next one runs',
    todo: 'take the schedule without post-validation, or run its steps with UpdatesInDoubt and onVerdict',
    details: { name, updates },
  })
}

function fewHeldOut(count: number, micro: number): SkeinError {
  return new SkeinError(TrainerErrors.FEW_HELD_OUT, {
    what: `${count} held-out samples are to be evaluated, and a microbatch has ${micro}`,
    why: 'a pipeline evaluates whole microbatches',
    todo: 'hold out more, raise eval.samples, or lower batch.micro',
    details: { count, micro },
  })
}
