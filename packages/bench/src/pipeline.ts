import fs from 'node:fs'
import path from 'node:path'
import {
  generateSchedule,
  type Schedule,
  scheduleNames,
  type ScheduleOptions,
  simulate,
  steadyPeriod,
  withFill,
  withPostValidation,
} from '@skein/schedule'
import { type Bench, type BenchCase, median, range } from './bench-case.ts'
import { type PipelineWorld, pipelineWorld } from './pipeline-world.ts'
import { places } from './places.ts'
import { torchPipeline } from './torch-pipeline.ts'

const ranks = 4
const microbatches = 8
const costs = { forward: 20, inputGrad: 20, weightGrad: 20 }
const boundaryBytes = 128 * 1024
const steps = 7

/** What the executor made of one schedule, for the table of schedules. */
export interface MeasuredSchedule {
  readonly schedule: string
  /** Time of a step over the simulated one without any cost of messages. */
  readonly ratio: number
  readonly spread: readonly [number, number]
  readonly idealMs: number
  readonly medianMs: number
  readonly perOpMicros: number
  /** Most activations held by each rank. */
  readonly peakActivations: readonly number[]
  /** The same over Unix sockets, as between workers of one host. */
  readonly unix: { readonly ratio: number; readonly medianMs: number }
  /** The same schedule by PyTorch, over the same ideal; where it has it. */
  readonly torch?: { readonly ratio: number; readonly medianMs: number }
}

export interface PipelineBenchOptions {
  /** One that has torch; without it there is no peer. */
  readonly python?: string
}

/**
 * Every schedule executed by four ranks, each a process with device thread and comm thread, over TCP: the stages take 20 ms forward, 20 ms for
 * the input's gradient and 20 ms for the weights', and 128 KiB go from one to the next. Against the time that the lists take when
 * nothing but the stages costs time. Warmed up as by the first minutes of a run, since runs take hours.
 */
export function pipelineBench(options: PipelineBenchOptions = {}): Bench {
  return { name: 'pipeline', about, run: report => runPipeline(options, report) }
}

const about =
  'A step of each schedule on 4 ranks (processes with two threads each, messages of 128 KiB over TCP, or Unix sockets as between workers of one host), 8 microbatches, stages paced at 20 ms F, 20 ms B, 20 ms W per rank and microbatch; ours = time of the step from the first start to the last end; ratio = ideal / ours, so 0.98 is 1.02 of the ideal; floor = ideal (simulated, messages free; of a validated schedule the period of steps without a barrier, and so is ours); peer = the same schedule by torch.distributed.pipelining over Gloo (TCP) with stages that sleep as long.'

interface Executed {
  readonly name: string
  readonly schedule: Schedule
  readonly ideal: number
  readonly frozen?: readonly number[]
}

/** Two layers, 640 ms of all ranks: they have 720 ms to spare in 1F1B. */
const frozen = [40, 40]

/** Every rule; what saves a barrier, beside the rule that has no bubble without it; and what fills the bubble of 1F1B. */
function* executed(): Generator<Executed> {
  const options: ScheduleOptions = { ranks, microbatches, costs }
  for (const name of scheduleNames) {
    const schedule = generateSchedule(name, options)
    yield { name, schedule, ideal: simulate(schedule, costs).makespan }
    if (name === '1f1b') {
      const filled = withFill(schedule, { ...costs, frozen }, 2)
      yield { name: filled.name, schedule: filled, ideal: simulate(filled, { ...costs, frozen }).makespan, frozen }
    }
    if (name !== 'zb-h2') continue
    const validated = withPostValidation(schedule)
    yield { name: validated.name, schedule: validated, ideal: steadyPeriod(validated, costs) }
  }
}

/** As many messages as a run of some minutes has: code that has run so often is compiled, which takes half of its time away. */
async function warmUp(world: PipelineWorld): Promise<void> {
  for (const name of ['1f1b', 'zb-v']) {
    const schedule = generateSchedule(name, { ranks, microbatches, costs })
    const passes = Array.from({ length: schedule.stages }, () => ({ forward: 0.3, inputGrad: 0.3, weightGrad: 0.3 }))
    await world.run({ schedule, passes, steps: 600, boundaryBytes })
  }
}

async function runPipeline({ python }: PipelineBenchOptions, report: (line: string) => void): Promise<BenchCase[]> {
  const world = await pipelineWorld(ranks, 'raw')
  const unixWorld = await pipelineWorld(ranks, 'unix')
  const torch = python === undefined ? undefined : await torchPipeline(python, ranks)
  const measured: MeasuredSchedule[] = []
  const cases: BenchCase[] = []
  try {
    await warmUp(world)
    await warmUp(unixWorld)
    for (const { name, schedule, ideal, frozen } of executed()) {
      const part = ranks / schedule.stages
      const passes = Array.from({ length: schedule.stages }, () => ({
        forward: costs.forward * part,
        inputGrad: costs.inputGrad * part,
        weightGrad: costs.weightGrad * part,
      }))
      const request = { schedule, passes, steps, boundaryBytes, ...(frozen === undefined ? {} : { frozen }) }
      const { samples, ...found } = await world.run(request)
      const { samples: unixSamples } = await unixWorld.run(request)
      const peer =
        torch?.schedules.includes(name) === true
          ? median(await torch.run(name, steps - 1, { ...costs, microbatches, elems: boundaryBytes / 4 }))
          : undefined
      const one: MeasuredSchedule = {
        schedule: name,
        ratio: median(samples) / ideal,
        spread: range(samples.map(ms => ms / ideal)),
        idealMs: ideal,
        medianMs: median(samples),
        ...found,
        unix: { ratio: median(unixSamples) / ideal, medianMs: median(unixSamples) },
        ...(peer === undefined ? {} : { torch: { ratio: peer / ideal, medianMs: peer } }),
      }
      measured.push(one)
      report(
        `${name}: ${one.medianMs.toFixed(1)} ms, ${one.ratio.toFixed(4)} of ${ideal.toFixed(0)} ms; ${one.perOpMicros.toFixed(0)} µs an op; Unix sockets ${one.unix.ratio.toFixed(4)}${peer === undefined ? '' : `; PyTorch ${(peer / ideal).toFixed(4)}`}`,
      )
      const common = { bench: 'pipeline', unit: 'ms', floor: ideal }
      const caseOf = (samples: readonly number[]) => ({
        ours: median(samples),
        ratio: ideal / median(samples),
        samples,
        spread: range(samples.map(ms => ideal / ms)),
      })
      cases.push({
        ...common,
        case: name,
        ...caseOf(samples),
        peer: peer === undefined ? null : { name: 'PyTorch', value: peer },
        goal: 'at most 1.02 of the ideal: ratio ≥ 0.980',
      })
      const unix = `${name}, Unix sockets`
      cases.push({ ...common, case: unix, ...caseOf(unixSamples), peer: null, goal: 'for information' })
    }
  } finally {
    await torch?.end()
    await world.end()
    await unixWorld.end()
  }
  const file = path.join(places.root, 'bench/results/pipeline.json')
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, `${JSON.stringify({ ranks, microbatches, costs, boundaryBytes, rows: measured }, null, 2)}\n`)
  return cases
}
