/**
 * Training with nothing around it, a process: `node bare-loop.js '{"jobFile":…,"steps":30,"threads":2}'`. The same job, data,
 * microbatches, flat state and update as a worker alone has, without comm thread, coordinator, digest, commit or log. Prints a line a step:
 * {"step":1,"loss":…}.
 */
import { chooseDevice, openKernelDevice } from '@skein/device'
import { loadJob, lrAt, openDataset } from '@skein/job'
import { Gpt2 } from '@skein/model'
import { createSharedMemory, createSimd, SharedArena } from '@skein/simd'
import { applyUpdate, createTrainingState, runsOf, trainingStateBytes } from '@skein/trainer'

export interface BareLoopOptions {
  readonly jobFile: string
  readonly steps: number
  readonly threads: number
}

const options = JSON.parse(process.argv[2] ?? '') as BareLoopOptions
const job = await loadJob(options.jobFile, { workers: 1, steps: options.steps })
if (job.model.kind !== 'gpt2')
  throw new Error(`${options.jobFile} does not train a GPT-2, which the bare loop is written for`)
const { optimizer, batch } = job
const { kind } = await chooseDevice()
const threads = { intraOp: options.threads, interOp: options.threads }
const device = await openKernelDevice(kind, { precision: job.precision, threads })
const model = new Gpt2(job.model, device)
const dataset = await openDataset(job)
const arena = new SharedArena(createSharedMemory(trainingStateBytes(model.layout)))
const simd = createSimd(arena.memory)
const state = createTrainingState(model.layout, arena)
model.initialise(state.params(), job.seed)

for (let step = 1; step <= job.steps; step++) {
  const from = (step - 1) * batch.global
  let lossSum = 0
  for (const [index, samples] of runsOf(from, from + batch.global, batch.micro).entries()) {
    const microbatch = dataset.batch('train', samples)
    const accumulate = index > 0
    lossSum += model.trainMicrobatch(microbatch, state.params(), state.gradientView(), { accumulate }).lossSum
  }
  applyUpdate(simd, state, {
    step,
    lr: lrAt(job, step),
    beta1: optimizer.betas[0],
    beta2: optimizer.betas[1],
    eps: optimizer.eps,
    weightDecay: optimizer.weightDecay,
    clipNorm: optimizer.clipNorm,
    samples: batch.global,
    sumSquares: simd.sumSquares(state.gradients.byteOffset, state.layout.totalElems),
  })
  process.stdout.write(`${JSON.stringify({ step, loss: lossSum / batch.global })}\n`)
}
model.dispose()
device.dispose()
