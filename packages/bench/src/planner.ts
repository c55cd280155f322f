import {
  type Candidate,
  describeCandidate,
  type MachineProfile,
  type PlanOptions,
  planPipeline,
  scheduleOf,
  type UnitProfile,
} from '@skein/planner'
import { generateSchedule } from '@skein/schedule'
import { type Bench, type BenchCase, median, range } from './bench-case.ts'
import { type PipelineWorld, pipelineWorld } from './pipeline-world.ts'

const ranks = 4
const microbatches = 8
const boundaryBytes = 128 * 1024
/** In a turn, the first of which is not counted. What comes and goes on the machine then falls on all alike. */
const steps = 4
const turns = 3
/** Of a plan so many are executed, from its first on. */
const executed = 12

const even = { forward: 5, inputGrad: 5, weightGrad: 5, backward: 10 }
/** By name, the passes of sixteen units in ms: what a microbatch takes on four ranks is 20 ms a pass, or nearly. */
const profiles: Readonly<Record<string, readonly Pick<UnitProfile, keyof typeof even>[]>> = {
  'all units alike': Array.from({ length: 16 }, () => even),
  'a light embedding and a head of three blocks': [
    { forward: 0.5, inputGrad: 0.2, weightGrad: 0.5, backward: 0.6 },
    ...Array.from({ length: 14 }, () => even),
    { forward: 15, inputGrad: 15, weightGrad: 15, backward: 30 },
  ],
  'backwards that are a quarter dearer when they are split': Array.from({ length: 16 }, () => ({
    ...even,
    backward: 8,
  })),
}

/**
 * Whether the planner chooses well: the twelve schedules that it puts first for a profile are executed with stages paced so, in turns, and the
 * first is held against the quickest.
 */
export const plannerBench: Bench = {
  name: 'planner',
  about:
    'A plan for 4 ranks and 8 microbatches on three profiles of a model, and its first twelve schedules executed in turns (processes with two threads each, messages of 128 KiB over TCP, paced stages); ours = median step of the schedule that the plan puts first, floor = that of the quickest executed; ratio = floor / ours. What a message takes of the device and on its way is measured before, with GPipe.',
  run: runPlanner,
}

async function runPlanner(report: (line: string) => void): Promise<BenchCase[]> {
  const world = await pipelineWorld(ranks, 'raw')
  try {
    const machine = await measureMachine(world)
    report(
      `a message takes ${machine.messageMs.toFixed(3)} ms of the device at each end, and ${machine.hopMs.toFixed(3)} ms on its way`,
    )
    const cases: BenchCase[] = []
    for (const [name, passes] of Object.entries(profiles)) {
      report(name)
      cases.push(await runProfile(world, name, passes, machine, report))
    }
    return cases
  } finally {
    await world.end()
  }
}

/**
 * What an op spends beside its pass is half for each of the two messages that most ops have; and what a lone microbatch takes longer than its
 * passes, on its way up and down, are hops.
 */
async function measureMachine(world: PipelineWorld): Promise<MachineProfile> {
  const passes = Array.from({ length: ranks }, () => ({ forward: 5, inputGrad: 5, weightGrad: 5 }))
  const of = (microbatches: number) =>
    world.run({ schedule: generateSchedule('gpipe', { ranks, microbatches }), passes, steps: 11, boundaryBytes })
  const messageMs = (await of(microbatches)).perOpMicros / 2000
  const onTheWay = median((await of(1)).samples) - ranks * 15
  const hopMs = Math.max(0, onTheWay / (2 * (ranks - 1)) - 2 * messageMs)
  return { hopMs, bytesPerMs: 1e9, messageMs, messageMsPerByte: 0, dispatchMs: 0 }
}

async function runProfile(
  world: PipelineWorld,
  name: string,
  passes: (typeof profiles)[string],
  machine: MachineProfile,
  report: (line: string) => void,
): Promise<BenchCase> {
  const memory = { activationBytes: 1 << 20, parameterBytes: 0 }
  const units = passes.map((times, unit): UnitProfile => {
    return { name: String(unit), ...times, ...memory, boundaryBytes: unit === passes.length - 1 ? 0 : boundaryBytes }
  })
  const options: PlanOptions = { ranks, microbatches, units, machine, slices: [2, 4] }
  // Recomputing only takes longer where nobody asks how much memory there is.
  const candidates = planPipeline(options).candidates.filter(({ recompute }) => !recompute)
  const measured = candidates.slice(0, executed).map(candidate => ({ candidate, samples: [] as number[] }))
  for (let turn = 0; turn < turns; turn++) {
    for (const { candidate, samples } of measured) {
      const schedule = scheduleOf(candidate, options)
      const run = await world.run({ schedule, passes: stagesOf(candidate, passes), steps, boundaryBytes })
      samples.push(...run.samples)
    }
  }
  for (const { candidate, samples } of measured) {
    const ms = median(samples)
    report(
      `  ${describeCandidate(candidate)}: ${ms.toFixed(1)} ms, foretold ${candidate.stepMs.toFixed(1)} (${(ms / candidate.stepMs).toFixed(3)})`,
    )
  }
  const ours = measured[0]?.samples ?? []
  const quickest = Math.min(...measured.map(({ samples }) => median(samples)))
  return {
    bench: 'planner',
    case: `${name}: ${describeCandidate(candidates[0] as Candidate)}, of ${candidates.length}`,
    unit: 'ms',
    ours: median(ours),
    peer: null,
    floor: quickest,
    ratio: quickest / median(ours),
    samples: ours,
    spread: range(ours.map(ms => quickest / ms)),
    goal: 'within 5 % of the quickest: ratio ≥ 0.952',
  }
}

function stagesOf({ stageUnits }: Candidate, passes: (typeof profiles)[string]) {
  let next = 0
  return stageUnits.map(count => {
    const own = passes.slice(next, (next += count))
    const sum = (key: keyof typeof even) => own.reduce((all, times) => all + times[key], 0)
    return {
      forward: sum('forward'),
      inputGrad: sum('inputGrad'),
      weightGrad: sum('weightGrad'),
      backward: sum('backward'),
    }
  })
}
