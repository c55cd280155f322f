import { SkeinError } from '@skein/core'
import { type DeviceChoice, openKernelDevice } from '@skein/device'
import type { ResolvedJob } from '@skein/job'
import {
  cutsAt,
  flatLayout,
  Gpt2Pipeline,
  gpt2Cuts,
  gpt2Params,
  gpt2Units,
  segmentRanges,
  sliceLengths,
} from '@skein/model'
import { equalLengthCuts } from '@skein/schedule'
import { WorkerErrors } from './errors.ts'
import { openModel } from './open-model.ts'
import { partTrainee, type Trainee, wholeTrainee } from './trainee.ts'

export interface OpenTraineesOptions {
  readonly job: ResolvedJob
  readonly choice: DeviceChoice
  /** Threads of the kernels of this worker. */
  readonly threads: number
  readonly maxWorkers: number
}

/** A device with what the job needs on it, before it is known which part of the model this worker gets. */
export interface Trainees extends Disposable {
  /** Of the whole model. */
  readonly numParams: number
  /** To be disposed before the next. */
  open(part: number): Trainee
}

export async function openTrainees(options: OpenTraineesOptions): Promise<Trainees> {
  const { job, choice, threads, maxWorkers } = options
  if (job.schedule === undefined) {
    const opened = await openModel({ job, choice, threads })
    return {
      numParams: opened.model.layout.numParams,
      open: () => wholeTrainee(job, opened.model, opened.gpt2, maxWorkers),
      [Symbol.dispose]: () => opened[Symbol.dispose](),
    }
  }
  if (job.model.kind !== 'gpt2') throw notCut(job)
  const { model: config, schedule } = job
  const device = await openKernelDevice(choice.kind, {
    precision: job.precision,
    threads: { intraOp: threads, interOp: threads },
  })
  const openPart = (stages: readonly number[], numStages: number) =>
    new Gpt2Pipeline({
      config,
      device,
      samples: job.batch.micro,
      stages,
      cuts: schedule.cuts === undefined ? gpt2Cuts(config, numStages) : cutsAt(gpt2Units(config), schedule.cuts),
      slices: sliceLengths(config.context, equalLengthCuts(schedule.slices)),
    })
  return {
    numParams: flatLayout(gpt2Params(config, segmentRanges(config.layers, 1))).numParams,
    open: part => partTrainee({ job, device, part, maxWorkers, open: openPart }),
    [Symbol.dispose]: () => device.dispose(),
  }
}

function notCut(job: ResolvedJob): SkeinError {
  return new SkeinError(WorkerErrors.NOT_CUT, {
    what: `the model of the job ${job.name} was to be cut in ${job.mesh.pp} parts`,
    why: 'only models of kind gpt2 can be cut yet',
    todo: 'take mesh.pp 1',
    details: { kind: job.model.kind, pp: job.mesh.pp },
  })
}
