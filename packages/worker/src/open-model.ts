import { type DeviceChoice, openKernelDevice, openTfjs } from '@skein/device'
import { openLayersModel, type ResolvedJob } from '@skein/job'
import { Gpt2, LayersModel, type TrainableModel } from '@skein/model'

export interface OpenModelOptions {
  readonly job: ResolvedJob
  readonly choice: DeviceChoice
  /** Threads of the kernels of this worker. */
  readonly threads: number
}

export interface OpenedModel extends Disposable {
  readonly model: TrainableModel
  /** The same model where it is a GPT, for generating text. */
  readonly gpt2: Gpt2 | undefined
}

/** The job's model on the chosen device. Disposing frees both. */
export async function openModel({ job, choice, threads }: OpenModelOptions): Promise<OpenedModel> {
  const kernelThreads = { intraOp: threads, interOp: threads }
  if (job.model.kind === 'gpt2') {
    const device = await openKernelDevice(choice.kind, { precision: job.precision, threads: kernelThreads })
    const gpt2 = new Gpt2(job.model, device)
    const dispose = () => {
      gpt2.dispose()
      device.dispose()
    }
    return { model: gpt2, gpt2, [Symbol.dispose]: dispose }
  }
  const tf = await openTfjs(choice.kind, { threads: kernelThreads })
  const spec = await openLayersModel(job)
  const { loss, inputs } = spec
  const model = new LayersModel({ tf, model: await spec.build(tf), loss, ...(inputs === undefined ? {} : { inputs }) })
  return { model, gpt2: undefined, [Symbol.dispose]: () => model.dispose() }
}
