import { systemClock } from '@skein/core'
import { type KernelDevice, openKernelDevice } from '@skein/device'
import {
  Gpt2Pipeline,
  type PipelineStage,
  profileGpt2,
  profileGpt2Vocabulary,
  type StageTensor,
  type VocabularyPart,
} from '@skein/model'
import { stagesOfPart } from '@skein/parallel'
import {
  type Candidate,
  describeCandidate,
  type PlanOptions,
  planPipeline,
  scheduleOf,
  stateFactor,
} from '@skein/planner'
import {
  isCompute,
  isCopy,
  isVocabulary,
  type Schedule,
  type ScheduleOp,
  simulate,
  stageAlong,
  unitCosts,
  type VocabularyOp,
} from '@skein/schedule'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { PipelineParallel } from './pipeline-parallel.ts'

const config = { layers: 2, width: 16, heads: 2, context: 8, vocab: 24 }
const samples = 2
const tokenBytes = 4 * samples * config.context

let device: KernelDevice
let options: PlanOptions
beforeAll(async () => {
  device = await openKernelDevice('cpu', { kernels: 'raw', threads: { intraOp: 1, interOp: 1 } })
  options = {
    ranks: 2,
    microbatches: 4,
    maxChunks: 2,
    units: profileGpt2({ config, device, samples }, { clock: systemClock, maxRounds: 1 }),
    machine: { hopMs: 0, bytesPerMs: 1e9, messageMs: 0, messageMsPerByte: 0, dispatchMs: 0, copyBytesPerMs: 1e9 },
    slices: [],
    vocabulary: profileGpt2Vocabulary({ config, device, samples, ranks: 2 }, { clock: systemClock, maxRounds: 1 }),
  }
})
afterAll(() => device.dispose())

test('the activations that a plan says each rank holds are those that its stages hold, with every schedule', () => {
  const { candidates } = planPipeline(options)
  for (const kind of [undefined, 'sharded']) {
    const names = candidates.filter(({ vocabulary }) => vocabulary === kind).map(({ name }) => name)
    expect(new Set(names).size, kind).toBeGreaterThan(8)
  }
  for (const candidate of candidates) {
    const found = heldAtMost(candidate)
    for (const [rank, { activations }] of candidate.memory.entries()) {
      const what = `${describeCandidate(candidate)}, rank ${rank}`
      if (candidate.recompute) {
        // Not counted: the token numbers that wait with the inputs of the first and the last stage.
        expect((found[rank] as number) - activations, what).toBeLessThanOrEqual(options.microbatches * 2 * tokenBytes)
        expect(found[rank], what).toBeGreaterThanOrEqual(activations)
      } else expect(found[rank], what).toBe(activations)
    }
  }
})

test('in slices they are at most what a plan says, with what slices share, whatever is dropped or copied', () => {
  const sliced = planPipeline({ ...options, slices: [2, 4] }).candidates.filter(({ slices }) => slices > 1)
  expect(new Set(sliced.map(({ recompute, offload }) => `${recompute} ${offload}`)).size).toBe(3)
  for (const candidate of sliced) {
    const found = heldAtMost(candidate)
    for (const [rank, { activations }] of candidate.memory.entries()) {
      const what = `${describeCandidate(candidate)}, rank ${rank}`
      const tokens = candidate.recompute ? options.microbatches * 2 * tokenBytes : 0
      expect(found[rank], what).toBeLessThanOrEqual(activations + tokens)
      // A slice looks at those before it only, so the square of the context is not whole.
      expect(found[rank], what).toBeGreaterThan(0.8 * activations)
    }
  }
})

test('so are parameters, gradients and moments: those that two stages of a rank share are there once', () => {
  for (const candidate of planPipeline(options).candidates) {
    const schedule = scheduleOf(candidate, options)
    for (const [part, { state }] of candidate.memory.entries()) {
      const model = modelOf(candidate, schedule, part)
      const elems = model.layout.tensors.reduce((sum, tensor) => sum + tensor.elems, 0)
      expect(state, `${describeCandidate(candidate)}, rank ${part}`).toBe(stateFactor * 4 * elems)
      model.dispose()
    }
  }
})

test('so is what messages take: of a step or of an evaluation, whichever is more', () => {
  for (const candidate of planPipeline({ ...options, slices: [2, 4] }).candidates) {
    const schedule = scheduleOf(candidate, options)
    for (const [part, { messages }] of candidate.memory.entries()) {
      const model = modelOf(candidate, schedule, part)
      const what = `${describeCandidate(candidate)}, rank ${part}`
      expect(messages, what).toBe(PipelineParallel.messageBytes(schedule, part, model))
      model.dispose()
    }
  }
})

/** What a rank has of the model. */
function modelOf({ stageUnits: cuts }: Candidate, schedule: Schedule, part: number): Gpt2Pipeline {
  const stages = stagesOfPart(schedule, part)
  const place = schedule.vocabulary === undefined ? {} : { vocabulary: { part, parts: schedule.ranks } }
  return new Gpt2Pipeline({ config, device, samples, cuts, stages, slices: slicesOf(schedule), ...place })
}

/** Tokens of each. */
const slicesOf = ({ slices }: Schedule) => Array.from({ length: slices }, () => config.context / slices)

/** Runs one step in one process, in the order in which it is simulated; by rank the most that its stages held. */
function heldAtMost(candidate: Candidate): number[] {
  const schedule = scheduleOf(candidate, options)
  const numStages = candidate.stageUnits.length
  const sizes = { config, device, samples, cuts: candidate.stageUnits, slices: slicesOf(schedule) }
  const models =
    schedule.vocabulary === undefined
      ? [new Gpt2Pipeline({ ...sizes, stages: candidate.stageUnits.map((_, stage) => stage) })]
      : schedule.ops.map((_, part) => modelOf(candidate, schedule, part))
  const data = new Int32Array(samples * config.context)
  const shape = [samples, config.context]
  const batch = { samples, arrays: { inputs: { data, shape }, targets: { data, shape } } }
  for (const model of models) {
    const params = new Float32Array(model.layout.totalElems)
    model.initialise(params, 1)
    const step = { batch: () => batch, params, gradients: new Float32Array(params.length) }
    for (const stage of model.stages.values()) stage.begin(step)
    model.vocabulary?.begin(step)
  }
  const stageOf = (stage: number) => models.find(({ stages }) => stages.has(stage))?.stages.get(stage) as PipelineStage
  const results = new Map<string, StageTensor>()
  // A stage of BitPipe is on two ranks: what counts is whose microbatch it is.
  const held = schedule.ops.map(() => new Map<string, number>())
  const most = schedule.ops.map(() => 0)
  for (const { rank, op } of inTime(schedule)) {
    const isShard = isVocabulary(op)
    if (!isShard && !isCompute(op) && !isCopy(op)) continue
    const shard = models[rank]?.vocabulary
    const holder = isShard ? (shard as VocabularyPart) : stageOf(op.stage)
    const before = holder.heldBytes()
    if (isShard) runShard(op, holder as VocabularyPart, schedule.ranks)
    else {
      const { microbatch } = op
      if (shard !== undefined) giveEnds(op, numStages, shard, results)
      runOp(schedule, stageOf(op.stage), op, results)
      // What no stage takes.
      if (shard !== undefined)
        for (const end of [`F ${numStages - 1} ${microbatch} 0`, `B 0 ${microbatch} 0`]) drop(results, end)
    }
    const own = held[rank] as Map<string, number>
    const key = isShard ? `vocabulary ${op.microbatch}` : `${op.stage} ${op.microbatch}`
    own.set(key, (own.get(key) ?? 0) + holder.heldBytes() - before)
    most[rank] = Math.max(
      most[rank] as number,
      [...own.values()].reduce((sum, bytes) => sum + bytes, 0),
    )
  }
  for (const model of models) model.dispose()
  return most
}

/** What the first stage takes of the passes E, and the last one of T: numbers are of no interest. */
function giveEnds(op: ScheduleOp, numStages: number, part: VocabularyPart, results: Map<string, StageTensor>): void {
  if (!isCompute(op)) return
  const isFirst = op.op === 'F' && op.stage === 0
  const isLast = (op.op === 'B' || op.op === 'BW') && op.stage === numStages - 1
  const zeros = () => part.fromValues(new Float32Array(part.elems))
  if (isFirst) results.set(`F undefined ${op.microbatch} 0`, zeros())
  if (isLast) results.set(`B undefined ${op.microbatch} 0`, zeros())
}

function runShard({ op, microbatch }: VocabularyOp, part: VocabularyPart, ranks: number): void {
  const zeros = () => part.fromValues(new Float32Array(part.elems))
  const found = new Float32Array(ranks * part.foundElems).fill(1)
  if (op === 'E') part.lookUp(microbatch).release()
  else if (op === 'S') part.logits(microbatch, zeros(), found.subarray(0, part.foundElems), 'activations')
  else if (op === 'G') part.lookUpGrad(microbatch, zeros())
  else {
    part.inputGrad(microbatch, found).release()
    part.weightGrad(microbatch)
  }
}

function drop(results: Map<string, StageTensor>, key: string): void {
  results.get(key)?.release()
  results.delete(key)
}

function inTime(schedule: Schedule) {
  return simulate(schedule, { ...unitCosts, copyHoldsDevice: true })
    .ops.flatMap((list, rank) => list.map(({ op, start, end }, index) => ({ rank, op, start, end, index })))
    .sort((a, b) => a.start - b.start || a.end - b.end || a.index - b.index)
}

function runOp(schedule: Schedule, stage: PipelineStage, op: ScheduleOp, results: Map<string, StageTensor>): void {
  if (!isCompute(op) && !isCopy(op)) return
  const piece = { microbatch: op.microbatch, slice: op.slice ?? 0 }
  const key = (kind: string, at: number | undefined) => `${kind} ${at} ${op.microbatch} ${piece.slice}`
  const taken = (kind: string, along: number) => {
    const name = key(kind, stageAlong(schedule, op.stage, op.microbatch, along))
    const tensor = results.get(name)
    results.delete(name)
    return tensor
  }
  const keep = (kind: string, tensor: StageTensor | undefined) => {
    if (tensor !== undefined) results.set(key(kind, op.stage), tensor)
  }
  const again = schedule.ops.some(list =>
    list.some(
      other =>
        other.op === 'R' && other.stage === op.stage && other.microbatch === op.microbatch && other.slice === op.slice,
    ),
  )
  if (op.op === 'F') keep('F', stage.forward(piece, taken('F', -1), again ? 'input' : 'activations'))
  else if (op.op === 'B') keep('B', stage.inputGrad(piece, taken('B', +1)))
  else if (op.op === 'BW') keep('B', stage.backward(piece, taken('B', +1)))
  else if (op.op === 'W') stage.weightGrad(piece)
  else if (op.op === 'R') stage.recompute(piece)
  else if (op.op === 'offload') stage.offload(piece, op.share ?? 1)
  else stage.reload(piece)
}
