import { type DeviceChoice, openKernelDevice, openTfjs } from '@skein/device'
import { type Gpt2Model, type JobSchedule, openLayersModel, type ResolvedJob } from '@skein/job'
import {
  attentionPart,
  cutsAt,
  flatLayout,
  Gpt2Pipeline,
  gpt2Cuts,
  gpt2Params,
  gpt2Units,
  LayersPipeline,
  layersUnits,
  segmentRanges,
  sliceLengths,
} from '@skein/model'
import { partition } from '@skein/planner'
import { equalCostCuts } from '@skein/schedule'
import { openModel } from './open-model.ts'
import { partTrainee, type PlaceOfPart, type Trainee, wholeTrainee } from './trainee.ts'

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
  open(part: number): Promise<Trainee>
}

export async function openTrainees(options: OpenTraineesOptions): Promise<Trainees> {
  const { job, choice, threads, maxWorkers } = options
  if (job.schedule === undefined) {
    const opened = await openModel({ job, choice, threads })
    return {
      numParams: opened.model.layout.numParams,
      open: async () => wholeTrainee(job, opened.model, opened.gpt2, maxWorkers),
      [Symbol.dispose]: () => opened[Symbol.dispose](),
    }
  }
  return job.model.kind === 'gpt2'
    ? openGpt2Parts(options, job.model, job.schedule)
    : openLayersParts(options, job.schedule)
}

async function openGpt2Parts(
  { job, choice, threads, maxWorkers }: OpenTraineesOptions,
  config: Gpt2Model,
  schedule: JobSchedule,
): Promise<Trainees> {
  const device = await openKernelDevice(choice.kind, {
    precision: job.precision,
    threads: { intraOp: threads, interOp: threads },
  })
  // Later tokens look at more: slices that take as long as one another are not as long as one another.
  const slices = sliceLengths(config.context, equalCostCuts(schedule.slices, attentionPart(config)))
  const { vocabulary } = schedule
  const openPart = async ({ part, stages, numStages }: PlaceOfPart) =>
    new Gpt2Pipeline({
      config,
      device,
      samples: job.batch.micro,
      stages,
      cuts:
        schedule.cuts === undefined
          ? gpt2Cuts(config, numStages, { vocabulary })
          : cutsAt(gpt2Units(config), schedule.cuts),
      slices,
      ...(vocabulary === 'sharded' ? { vocabulary: { part, parts: job.mesh.pp } } : {}),
    })
  return {
    numParams: flatLayout(gpt2Params(config, segmentRanges(config.layers, 1))).numParams,
    open: part =>
      partTrainee({ job, part, maxWorkers, open: openPart, liveTensors: () => device.ledger().liveTensors }),
    [Symbol.dispose]: () => device.dispose(),
  }
}

/** The user's code builds the model anew for each part that is opened; what is not of the part is freed at once. */
async function openLayersParts(
  { job, choice, threads, maxWorkers }: OpenTraineesOptions,
  schedule: JobSchedule,
): Promise<Trainees> {
  const tf = await openTfjs(choice.kind, { threads: { intraOp: threads, interOp: threads } })
  const spec = await openLayersModel(job)
  const { loss, inputs } = spec
  const whole = await spec.build(tf)
  const units = layersUnits({ tf, model: whole })
  const numParams = whole.countParams()
  whole.dispose()
  const openPart = async ({ stages, numStages }: PlaceOfPart) =>
    new LayersPipeline({
      tf,
      model: await spec.build(tf),
      loss,
      ...(inputs === undefined ? {} : { inputs }),
      samples: job.batch.micro,
      stages,
      cuts: schedule.cuts === undefined ? evenCuts(units.length, numStages) : cutsAt(units, schedule.cuts),
    })
  return {
    numParams,
    open: part => partTrainee({ job, part, maxWorkers, open: openPart, liveTensors: () => tf.memory().numTensors }),
    [Symbol.dispose]: () => undefined,
  }
}

/** @throws SKEIN_PLANNER_TOO_MANY_STAGES */
const evenCuts = (numUnits: number, numStages: number) =>
  partition(
    Array.from({ length: numUnits }, () => 1),
    numStages,
  )
