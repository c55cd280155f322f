import { assertNever, type Clock, type Ms, SkeinError } from '@skein/core'
import type { Keeps, Piece, PipelineStage, StageTensor } from '@skein/model'
import {
  type ComputeOp,
  type CopyOp,
  describeOp,
  type FillOp,
  messagesLeftOver,
  rankOf,
  type Schedule,
  type ScheduleOp,
  stageAlong,
  type TimedOp,
  type TransferOp,
  verdictAt,
  type VocabularyOp,
} from '@skein/schedule'
import { ParallelErrors } from '../errors.ts'
import type { FillExchange } from './fill-exchange.ts'
import type { Mailbox } from './mailbox.ts'
import type { ExchangeName, VocabularyExchange } from './vocabulary-exchange.ts'

export interface ListContext {
  /** Lowered. */
  readonly schedule: Schedule
  /** Whose list it is. */
  readonly rank: number
  /** Those of the rank, begun for this step. */
  readonly stages: ReadonlyMap<number, PipelineStage>
  readonly mailbox: Mailbox
  /** Where the schedule has a sharded vocabulary: the rank's part of it, begun for this step, and its exchanges. */
  readonly vocabulary?: VocabularyExchange | undefined
  /** Where the schedule is filled: the frozen part, begun on the samples of the next step, and what it makes. */
  readonly fill?: FillExchange | undefined
  readonly clock: Clock
  /** Called before each op. @throws what ends the step */
  check(): void
  /** All gradients of the stage are there, on this rank. */
  onReduce?(stage: number): void
  /** In a schedule that updates after each microbatch. */
  onUpdate?(): void
  /** In a schedule whose updates are validated afterwards. */
  readonly validation?: Validation | undefined
  /** An evaluation: the forwards keep nothing. */
  readonly isEvaluation?: boolean
}

/** What becomes of updates that were made before the global state was known. */
export interface Validation {
  /** Waits for the verdict on the step before, whose update is then as it should be; whether every rank's was so before. */
  verdict(): Promise<boolean>
  /** The stages begin this step again, with the weights as they are now. */
  beginAgain(): void
}

export interface ListReport {
  /** What the device did, in ms of the clock. */
  readonly ops: readonly TimedOp[]
  /** Time in which the device stood and waited for messages. */
  readonly waitMs: Ms
  /** Most bytes that the activations in flight held at once, as the stages count them. */
  readonly peakHeldBytes: number
}

/**
 * Runs one rank's list in its order, over real stages and real messages: the only executor of schedules. The device computes; what it makes
 * for others is copied into a buffer and sent by the comm thread while it goes on, and what it needs was asked for ahead.
 *
 * @throws what `check`, a stage or a message threw; the stages then hold nothing of the step any more
 */
export async function runList(context: ListContext, step: number): Promise<ListReport> {
  const run = new ListRun(context, step)
  try {
    context.vocabulary?.begin()
    context.fill?.begin(step)
    const list = context.schedule.ops[context.rank] ?? []
    for (const op of list) {
      context.check()
      if (op.op === 'validate') await run.validate(list, op)
      else await run.do(op)
    }
    await context.mailbox.flushed()
    await context.vocabulary?.settled()
    await context.fill?.settled()
    return run.report()
  } catch (error) {
    run.drop()
    context.fill?.part.reset()
    throw error
  }
}

class ListRun {
  readonly #context: ListContext
  readonly #step: number
  readonly #recomputed: ReadonlySet<string>
  /** Results for stages of this rank, and those that wait for their send, which stands right behind them. */
  readonly #results = new Map<string, StageTensor>()
  readonly #timed: TimedOp[] = []
  #waitMs = 0
  #peakHeldBytes = 0

  constructor(context: ListContext, step: number) {
    this.#context = context
    this.#step = step
    const list = context.schedule.ops[context.rank] ?? []
    this.#recomputed = new Set(list.flatMap(op => (op.op === 'R' ? [keyOf(op)] : [])))
  }

  /**
   * Waits for the verdict. Where some rank's update was wrong, what this rank has done of the step was made of it, and so were messages under way:
   * all of that goes, and the step begins again.
   */
  async validate(list: readonly ScheduleOp[], op: ScheduleOp): Promise<void> {
    const { validation, mailbox, schedule, rank } = this.#context
    if (validation === undefined) throw notExecuted(schedule, op)
    if (await this.#waited(() => validation.verdict())) return
    this.drop()
    await this.#waited(() => mailbox.discard(messagesLeftOver(schedule, rank), this.#step))
    validation.beginAgain()
    for (const again of list.slice(0, verdictAt(list))) {
      this.#context.check()
      // What is frozen is not in doubt.
      if (again.op !== 'fill') await this.do(again)
    }
  }

  async do(op: ScheduleOp): Promise<void> {
    switch (op.op) {
      case 'F':
      case 'B':
      case 'BW':
      case 'W':
      case 'R':
        await this.#compute(op)
        break
      case 'E':
      case 'S':
      case 'T':
      case 'G':
        await this.#computeShard(op)
        break
      case 'fill':
        await this.#computeFrozen(op)
        break
      case 'recvActivation':
      case 'recvGradient':
        this.#context.mailbox.post(op, this.#step)
        break
      case 'sendActivation':
      case 'sendGradient':
        await this.#context.mailbox.send(
          op,
          this.#step,
          this.#taken(op.op === 'sendActivation' ? 'activation' : 'gradient', op),
        )
        break
      case 'offload':
      case 'reload':
        this.#copy(op)
        break
      case 'reduce':
        this.#context.onReduce?.(op.stage)
        break
      case 'update':
        this.#context.onUpdate?.()
        break
      case 'gather':
      case 'release':
      case 'validate':
        throw notExecuted(this.#context.schedule, op)
      default:
        assertNever(op, 'op of a schedule')
    }
  }

  report(): ListReport {
    return { ops: this.#timed, waitMs: this.#waitMs, peakHeldBytes: this.#peakHeldBytes }
  }

  /** Frees what the step has left. */
  drop(): void {
    for (const tensor of this.#results.values()) tensor.release()
    this.#results.clear()
    for (const stage of this.#context.stages.values()) stage.reset()
    this.#context.vocabulary?.part.reset()
  }

  async #compute(op: ComputeOp): Promise<void> {
    const stage = this.#stage(op)
    const piece: Piece = { microbatch: op.microbatch, slice: op.slice ?? 0 }
    const input = await this.#input(op, stage)
    const result = this.#pass(op, () => {
      if (op.op === 'F') return stage.forward(piece, input, this.#keeps(op))
      if (op.op === 'B') return stage.inputGrad(piece, input)
      if (op.op === 'BW') return stage.backward(piece, input)
      if (op.op === 'W') stage.weightGrad(piece)
      else stage.recompute(piece)
      return undefined
    })
    if (result === undefined) return
    const exchange = this.#exchangeOf(op, +1)
    if (exchange !== undefined) return this.#vocabulary(op).give(exchange, op.microbatch, result)
    // The name that its taker, or its send, looks for.
    this.#results.set(resultKey(op.op === 'F' ? 'activation' : 'gradient', op), result)
  }

  /** What the op takes from the stage before or after it, on this rank or in a message. */
  async #input(op: ComputeOp, stage: PipelineStage): Promise<StageTensor | undefined> {
    if (op.op === 'W' || op.op === 'R') return undefined
    const { schedule, rank, mailbox } = this.#context
    const exchange = this.#exchangeOf(op, -1)
    if (exchange !== undefined) return this.#waited(() => this.#vocabulary(op).take(exchange, op.microbatch))
    const kind = op.op === 'F' ? 'activation' : 'gradient'
    const from = stageAlong(schedule, op.stage, op.microbatch, op.op === 'F' ? -1 : +1)
    const { fill } = this.#context
    if (op.op === 'F' && op.stage === 0 && fill !== undefined) {
      await this.#waited(() => fill.ready(this.#step, op.microbatch))
    }
    if (from === undefined) return undefined
    const peer = rankOf(schedule, from, op.microbatch)
    if (peer === rank) return this.#taken(kind, { ...op, stage: from })
    const receive: TransferOp = {
      ...op,
      op: kind === 'activation' ? 'recvActivation' : 'recvGradient',
      peer,
    }
    const take = (values: Float32Array) => stage.fromValues(values, kind, op.slice ?? 0)
    return this.#waited(() => mailbox.receive(receive, this.#step, take))
  }

  /** A pass of the rank's part of a sharded vocabulary. T sends its part of the gradient before it makes that of its rows. */
  async #computeShard(op: VocabularyOp): Promise<void> {
    const { clock, isEvaluation = false } = this.#context
    const { microbatch } = op
    const vocabulary = this.#vocabulary(op)
    const { part } = vocabulary
    switch (op.op) {
      case 'E':
        return vocabulary.give(
          'lookedUp',
          microbatch,
          this.#pass(op, () => part.lookUp(microbatch)),
        )
      case 'S': {
        const y = await this.#waited(() => vocabulary.take('output', microbatch))
        const keeps = isEvaluation ? 'nothing' : 'activations'
        return vocabulary.giveFound(microbatch, found => this.#pass(op, () => part.logits(microbatch, y, found, keeps)))
      }
      case 'T': {
        const start = await this.#waited(() =>
          vocabulary.takeFound(microbatch, foundByAll => {
            part.addLoss(microbatch, foundByAll)
            const start = clock.now()
            return isEvaluation ? undefined : { start, dy: part.inputGrad(microbatch, foundByAll) }
          }),
        )
        if (start === undefined) return
        await vocabulary.give('gradient', microbatch, start.dy)
        part.weightGrad(microbatch)
        return this.#record(op, start.start)
      }
      case 'G': {
        const dx = await this.#waited(() => vocabulary.take('lookUpGradient', microbatch))
        return this.#pass(op, () => part.lookUpGrad(microbatch, dx))
      }
    }
  }

  async #computeFrozen(op: FillOp): Promise<void> {
    const { fill, schedule } = this.#context
    if (fill === undefined) throw notExecuted(schedule, op)
    const result = this.#pass(op, () => fill.part.run(op.layer, op.piece))
    if (result !== undefined) await fill.give(this.#step, op.piece, result)
  }

  /** Where a stage at the end of the pipe gives its result to, or takes its input from, in place of the stage that there is none of. */
  #exchangeOf({ op, stage }: ComputeOp, along: 1 | -1): ExchangeName | undefined {
    const { schedule } = this.#context
    if (schedule.vocabulary === undefined) return undefined
    const isLower = stage === 0 && (op === 'F') === along < 0
    const isUpper = stage === schedule.stages - 1 && (op === 'F') === along > 0
    if (op === 'F') return isLower ? 'lookedUp' : isUpper ? 'output' : undefined
    return isLower ? 'lookUpGradient' : isUpper ? 'gradient' : undefined
  }

  #vocabulary(op: ScheduleOp): VocabularyExchange {
    const { vocabulary, schedule } = this.#context
    if (vocabulary === undefined) throw notExecuted(schedule, op)
    return vocabulary
  }

  /** The thread may stand still within the call already. */
  async #waited<T>(wait: () => Promise<T>): Promise<T> {
    const { clock } = this.#context
    const before = clock.now()
    const result = await wait()
    this.#waitMs += clock.now() - before
    return result
  }

  #copy(op: CopyOp): void {
    const piece: Piece = { microbatch: op.microbatch, slice: op.slice ?? 0 }
    this.#pass(op, () => {
      if (op.op === 'offload') this.#stage(op).offload(piece, op.share ?? 1)
      else this.#stage(op).reload(piece)
    })
  }

  /** What the device does for an op, without what is waited for before. */
  #pass<T>(op: TimedOp['op'], pass: () => T): T {
    const start = this.#context.clock.now()
    const result = pass()
    this.#record(op, start)
    return result
  }

  #record(op: TimedOp['op'], start: Ms): void {
    this.#timed.push({ op, start, end: this.#context.clock.now() })
    const { vocabulary, fill } = this.#context
    let held = (vocabulary?.part.heldBytes() ?? 0) + (fill?.part.heldBytes() ?? 0)
    for (const stage of this.#context.stages.values()) held += stage.heldBytes()
    this.#peakHeldBytes = Math.max(this.#peakHeldBytes, held)
  }

  #keeps(op: ComputeOp): Keeps {
    if (this.#context.isEvaluation === true) return 'nothing'
    return this.#recomputed.has(keyOf(op)) ? 'input' : 'activations'
  }

  #stage(op: { readonly stage: number }): PipelineStage {
    const stage = this.#context.stages.get(op.stage)
    if (stage === undefined) throw new Error(`rank ${this.#context.rank} does not hold stage ${op.stage}`)
    return stage
  }

  #taken(kind: 'activation' | 'gradient', op: Keyed): StageTensor {
    const key = resultKey(kind, op)
    const tensor = this.#results.get(key)
    if (tensor === undefined) throw new Error(`the ${kind} of ${keyOf(op)} is not there: the list is out of order`)
    this.#results.delete(key)
    return tensor
  }
}

interface Keyed {
  readonly stage: number
  readonly microbatch: number
  readonly slice?: number
}

const keyOf = ({ stage, microbatch, slice = 0 }: Keyed) => `stage ${stage}, microbatch ${microbatch}, slice ${slice}`
const resultKey = (kind: 'activation' | 'gradient', op: Keyed) => `${kind} of ${keyOf(op)}`

function notExecuted(schedule: Schedule, op: ScheduleOp): SkeinError {
  return new SkeinError(ParallelErrors.NOT_EXECUTED, {
    what: `the schedule ${schedule.name} has "${describeOp(op)}"`,
    why: 'weights that are sharded, a vocabulary or frozen layers for which there is no exchange, and updates that nobody here validates, can be drawn and simulated, and not run',
    todo: 'take the schedule without it',
    details: { name: schedule.name, op: op.op },
  })
}
