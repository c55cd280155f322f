/**
 * One rank of the pipeline bench, a process with the two threads of a worker: `node pipeline-rank.js '{"rank":0,"ranks":4,…}'`. Its stages
 * take the time they are told to and compute nothing; lists, tensors, threads and sockets are those of a run. Says
 * {"ready":true,"address":…}; then answers lines of standard input: "connect [addresses]" → {"connected":true}, "run REQUEST" →
 * PipelineMeasured, "quit" ends.
 */
import { once } from 'node:events'
import readline from 'node:readline'
import type { GroupAnswer } from '@skein/collective'
import { systemClock } from '@skein/core'
import {
  fillBytes,
  FillExchange,
  Mailbox,
  mailboxBytes,
  PacedFrozen,
  pacedFor,
  PacedStage,
  runList,
  stagesOfPart,
  StateChain,
} from '@skein/parallel'
import { fillsAlone, lower, type PassTimes, type Schedule } from '@skein/schedule'
import type { Address } from './collective-comm.ts'
import { openRankThreads } from './rank-threads.ts'

export interface PipelineRequest {
  /** Not lowered. Where its updates are validated afterwards, steps follow one another without a barrier. */
  readonly schedule: Schedule
  readonly steps: number
  /** By stage, ms of one microbatch. */
  readonly passes: readonly PassTimes[]
  readonly boundaryBytes: number
  /** Where the schedule is filled: ms of each frozen layer on a microbatch. What they make of one has `boundaryBytes`. */
  readonly frozen?: readonly number[]
}

export interface PipelineMeasured {
  /** Begin and end of each step on this rank, in ms of the machine's clock. */
  readonly steps: readonly (readonly [start: number, end: number])[]
  /** Median time per op that the device was neither computing nor waiting, in µs. */
  readonly perOpMicros: number
  /** Most activations held, in units of one microbatch on the stages of one rank. */
  readonly peakActivations: number
}

const { options, memory, tensors, comm, group, address, say } = await openRankThreads()
const { rank } = options
const nowMs = () => Number(process.hrtime.bigint()) / 1e6
const activationBytes = 1 << 20

function stagesFor({ schedule, passes, boundaryBytes }: PipelineRequest) {
  const { ranks: parts, stages: numStages, slices } = schedule
  return new Map(
    stagesOfPart(schedule, rank).map(stage => {
      const { forward, inputGrad, weightGrad, backward = inputGrad + weightGrad } = passes[stage] as PassTimes
      const costs = {
        forward: forward / slices,
        inputGrad: inputGrad / slices,
        weightGrad: weightGrad / slices,
        backward: backward / slices,
      }
      const paced = new PacedStage({
        stage,
        numStages,
        costs,
        boundaryElems: boundaryBytes / 4 / slices,
        activationBytes: (activationBytes * parts) / (numStages * slices),
        during: pacedFor,
      })
      return [stage, paced]
    }),
  )
}

async function run(request: PipelineRequest): Promise<PipelineMeasured> {
  const schedule = lower(request.schedule)
  const stages = stagesFor(request)
  const region = { byteOffset: tensors.byteOffset, bytes: mailboxBytes(schedule, rank, stages) }
  const mailbox = new Mailbox({
    schedule,
    rank,
    stages,
    groupRankOf: part => part,
    messages: group.messages,
    memory,
    region,
  })
  const chain = openChain(mailboxBytes(schedule, rank, stages))
  const fill = openFill(schedule, request, mailboxBytes(schedule, rank, stages) + StateChain.bytes)
  const isValidated = schedule.updates === 'validated'
  const nothing = new Float32Array()
  const steps: [number, number][] = []
  const perOp: number[] = []
  let peak = 0
  for (let step = 1; step <= request.steps; step++) {
    const beginAgain = () => {
      for (const stage of stages.values()) {
        stage.begin({ batch: () => ({ samples: 1, arrays: {} }), params: nothing, gradients: nothing })
      }
    }
    beginAgain()
    if (step === 1 || !isValidated) await group.barrier()
    const start = nowMs()
    if (isValidated) chain.begin(step)
    const verdict = async () => step === 1 || (await chain.verdict(step - 1)).samples === options.ranks
    const context = { rank, stages, mailbox, fill, clock: systemClock, check: () => undefined }
    if (step === 1 && fill !== undefined) await runList({ ...context, schedule: fillsAlone(schedule) }, 0)
    const report = await runList({ ...context, schedule, validation: { verdict, beginAgain } }, step)
    if (isValidated) await chain.passOn(step, { lossSum: 0, samples: 1, sumSquares: 1 })
    const end = nowMs()
    steps.push([start, end])
    const busy = report.ops.reduce((sum, op) => sum + op.end - op.start, 0)
    perOp.push((1000 * (end - start - busy - report.waitMs)) / report.ops.length)
    peak = Math.max(peak, report.peakHeldBytes / activationBytes)
  }
  if (isValidated) await chain.verdict(request.steps)
  return { steps, perOpMicros: perOp.toSorted((a, b) => a - b)[perOp.length >> 1] ?? 0, peakActivations: peak }
}

/** Behind the messages. */
function openChain(messageBytes: number): StateChain {
  const region = { byteOffset: tensors.byteOffset + messageBytes, bytes: StateChain.bytes }
  return new StateChain({
    rank,
    ranks: options.ranks,
    groupRankOf: part => part,
    messages: group.messages,
    memory,
    region,
  })
}

/** Behind the state's. */
function openFill(schedule: Schedule, request: PipelineRequest, offset: number): FillExchange | undefined {
  if (schedule.frozen === undefined) return undefined
  const { cuts } = schedule.frozen
  const part = new PacedFrozen({
    costs: (request.frozen ?? []).map(ms => ms / cuts),
    outputElems: request.boundaryBytes / 4 / cuts,
    during: pacedFor,
  })
  return new FillExchange({
    schedule,
    rank,
    part,
    groupRankOf: part => part,
    messages: group.messages,
    memory,
    region: { byteOffset: tensors.byteOffset + offset, bytes: fillBytes(schedule, rank, part) },
  })
}

say({ ready: true, address })
for await (const line of readline.createInterface({ input: process.stdin })) {
  const at = line.indexOf(' ')
  const [command, rest] = at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)]
  if (command === 'connect') {
    comm.postMessage({ type: 'connect', addresses: JSON.parse(rest) as Address[] })
    await once(comm, 'message')
    comm.on('message', (answer: GroupAnswer) => group.receive(answer))
    say({ connected: true })
  } else if (command === 'run') say(await run(JSON.parse(rest) as PipelineRequest))
  else break
}
comm.postMessage({ type: 'close' })
