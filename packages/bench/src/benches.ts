import fs from 'node:fs'
import os from 'node:os'
import type { Bench } from './bench-case.ts'
import { catchUp } from './catch-up.ts'
import { checkpoint } from './checkpoint.ts'
import { collectivesBench } from './collectives.ts'
import { control } from './control.ts'
import { orchestration } from './orchestration.ts'
import { overlap } from './overlap.ts'
import { shapedLinksBench } from './shaped-links.ts'
import { recoveryBench } from './recovery.ts'
import { pipelineBench } from './pipeline.ts'
import { plannerBench } from './planner.ts'
import { startup } from './startup.ts'
import { torchftPython, torchPython } from './torch-python.ts'
import { trainStepBench } from './train-step.ts'

type Report = (line: string) => void

/** A bench ready to run, with the versions of its peers. */
export interface OpenedBench {
  readonly bench: Bench
  readonly versions: Readonly<Record<string, string>>
}

/** All benches by name; opening one brings what its peer needs. */
export const benches: Readonly<Record<string, (report: Report) => Promise<OpenedBench>>> = {
  'train-step': openTrainStep,
  collectives: besideGloo(collectivesBench),
  'shaped-links': besideGloo(shapedLinksBench),
  orchestration: alone(orchestration),
  overlap: alone(overlap),
  startup: alone(startup),
  recovery: openRecovery,
  control: alone(control),
  'catch-up': alone(catchUp),
  checkpoint: alone(checkpoint),
  pipeline: besideGloo(pipelineBench),
  planner: alone(plannerBench),
}

function alone(bench: Bench): () => Promise<OpenedBench> {
  return () => Promise.resolve({ bench, versions: {} })
}

/** Without PyTorch the step is still measured, and the results say that there was no peer. */
async function openTrainStep(report: Report): Promise<OpenedBench> {
  const threads = os.availableParallelism()
  try {
    const { python, version } = await torchPython(report)
    return { bench: trainStepBench({ python, threads }), versions: { torch: version, threads: String(threads) } }
  } catch (error) {
    report(`no PyTorch to compare with: ${error instanceof Error ? error.message : String(error)}`)
    return { bench: trainStepBench({ threads }), versions: { torch: 'missing', threads: String(threads) } }
  }
}

/** torchft beside ours, where it can be had. */
async function openRecovery(report: Report): Promise<OpenedBench> {
  try {
    const { python, version } = await torchftPython(report)
    return { bench: recoveryBench({ python }), versions: { torchft: version } }
  } catch (error) {
    report(`no torchft to compare with: ${error instanceof Error ? error.message : String(error)}`)
    return { bench: recoveryBench({}), versions: { torchft: 'missing' } }
  }
}

/** A bench whose peer is Gloo; without it the cases have none. */
function besideGloo(bench: (options: { readonly python?: string }) => Bench) {
  return async (report: Report): Promise<OpenedBench> => {
    try {
      const { python, version } = await torchPython(report)
      return { bench: bench({ python }), versions: { torch: version, ...congestionControl() } }
    } catch (error) {
      report(`no Gloo to compare with: ${error instanceof Error ? error.message : String(error)}`)
      return { bench: bench({}), versions: { torch: 'missing', ...congestionControl() } }
    }
  }
}

/** By which the kernel paces TCP, within a host as well: with bbr loopback carries half of what it carries with cubic (docs/lab-log.md). */
function congestionControl(): Readonly<Record<string, string>> {
  try {
    const name = fs.readFileSync('/proc/sys/net/ipv4/tcp_congestion_control', 'utf8').trim()
    return { 'TCP congestion control': name }
  } catch {
    return {}
  }
}
