import { systemClock } from '@skein/core'
import { type KernelDevice, openKernelDevice } from '@skein/device'
import { Gpt2Pipeline, type PipelineStage, profileGpt2, type StageTensor } from '@skein/model'
import { type Candidate, describeCandidate, type PlanOptions, planPipeline, scheduleOf } from '@skein/planner'
import { isCompute, isCopy, type Schedule, type ScheduleOp, simulate, stageAlong, unitCosts } from '@skein/schedule'
import { afterAll, beforeAll, expect, test } from 'vitest'

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
  }
})
afterAll(() => device.dispose())

test('the activations that a plan says each rank holds are those that its stages hold, with every schedule', () => {
  const { candidates } = planPipeline(options)
  expect(new Set(candidates.map(({ name }) => name)).size).toBeGreaterThan(9)
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

/** Runs one step in one process, in the order in which it is simulated; by rank the most that its stages held. */
function heldAtMost(candidate: Candidate): number[] {
  const schedule = scheduleOf(candidate, options)
  const model = new Gpt2Pipeline({
    config,
    device,
    samples,
    stages: candidate.stageUnits.map((_, stage) => stage),
    cuts: candidate.stageUnits,
  })
  const params = new Float32Array(model.layout.totalElems)
  model.initialise(params, 1)
  const data = new Int32Array(samples * config.context)
  const shape = [samples, config.context]
  const batch = { samples, arrays: { inputs: { data, shape }, targets: { data, shape } } }
  const stageOf = (stage: number) => model.stages.get(stage) as PipelineStage
  for (const stage of model.stages.values()) {
    stage.begin({ batch: () => batch, params, gradients: new Float32Array(params.length) })
  }
  const results = new Map<string, StageTensor>()
  // A stage of BitPipe is on two ranks: what counts is whose microbatch it is.
  const held = schedule.ops.map(() => new Map<string, number>())
  const most = schedule.ops.map(() => 0)
  for (const { rank, op } of inTime(schedule)) {
    if (!isCompute(op) && !isCopy(op)) continue
    const before = stageOf(op.stage).heldBytes()
    runOp(schedule, stageOf(op.stage), op, results)
    const own = held[rank] as Map<string, number>
    const key = `${op.stage} ${op.microbatch}`
    own.set(key, (own.get(key) ?? 0) + stageOf(op.stage).heldBytes() - before)
    most[rank] = Math.max(
      most[rank] as number,
      [...own.values()].reduce((sum, bytes) => sum + bytes, 0),
    )
  }
  model.dispose()
  return most
}

function inTime(schedule: Schedule) {
  return simulate(schedule, { ...unitCosts, copyHoldsDevice: true })
    .ops.flatMap((list, rank) => list.map(({ op, start, end }, index) => ({ rank, op, start, end, index })))
    .sort((a, b) => a.start - b.start || a.end - b.end || a.index - b.index)
}

function runOp(schedule: Schedule, stage: PipelineStage, op: ScheduleOp, results: Map<string, StageTensor>): void {
  if (!isCompute(op) && !isCopy(op)) return
  const piece = { microbatch: op.microbatch, slice: 0 }
  const key = (kind: string, at: number | undefined) => `${kind} ${at} ${op.microbatch}`
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
    list.some(other => other.op === 'R' && other.stage === op.stage && other.microbatch === op.microbatch),
  )
  if (op.op === 'F') keep('F', stage.forward(piece, taken('F', -1), again ? 'input' : 'activations'))
  else if (op.op === 'B') keep('B', stage.inputGrad(piece, taken('B', +1)))
  else if (op.op === 'BW') keep('B', stage.backward(piece, taken('B', +1)))
  else if (op.op === 'W') stage.weightGrad(piece)
  else if (op.op === 'R') stage.recompute(piece)
  else if (op.op === 'offload') stage.offload(piece, op.share ?? 1)
  else stage.reload(piece)
}
