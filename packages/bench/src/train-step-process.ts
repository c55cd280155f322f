/**
 * Our side of the train-step bench, a process: `node train-step-process.js '{"data":…}'`. Prints a JSON line when ready, then answers
 * each line of standard input: "run K" trains K steps and prints {"ms": […], "loss": […]}; "quit" ends. As peers/gpt_torch.py.
 */
import fs from 'node:fs'
import path from 'node:path'
import readline from 'node:readline'
import { type KernelsKind, openKernelDevice, type Precision } from '@skein/device'
import { type Batch, Gpt2, type Gpt2Config } from '@skein/model'
import { createSharedMemory, createSimd, SharedArena } from '@skein/simd'
import { applyUpdate, createTrainingState, trainingStateBytes } from '@skein/trainer'

/** How the passes are cut: all in one session call, one backward call a segment, or B and W of each segment apart. */
export type StepMode = 'whole' | 'segments' | 'split'

export interface TrainStepOptions {
  /** Folder with model.json, params.bin and tokens.bin. */
  readonly data: string
  readonly mode: StepMode
  readonly precision: Precision
  readonly kernels: KernelsKind
  readonly threads: number
  readonly numSegments?: number
}

/** What model.json holds. */
export interface TrainStepFacts {
  readonly sizes: Gpt2Config
  readonly adamw: {
    readonly lr: number
    readonly beta1: number
    readonly beta2: number
    readonly eps: number
    readonly weightDecay: number
  }
  readonly samples: number
  readonly tensors: readonly { readonly name: string; readonly shape: readonly number[]; readonly offset: number }[]
}

const options = JSON.parse(process.argv[2] ?? '') as TrainStepOptions
const read = (name: string) => fs.readFileSync(path.join(options.data, name))
const facts = JSON.parse(read('model.json').toString()) as TrainStepFacts
const { samples, sizes } = facts
const { context } = sizes

const device = await openKernelDevice('tensorflow-cpu', {
  kernels: options.kernels,
  precision: options.precision,
  threads: { intraOp: options.threads, interOp: options.threads },
})
const model = new Gpt2(sizes, device, options.numSegments === undefined ? {} : { numSegments: options.numSegments })
const arena = new SharedArena(createSharedMemory(trainingStateBytes(model.layout)))
const simd = createSimd(arena.memory)
const state = createTrainingState(model.layout, arena)
const saved = new Float32Array(new Uint8Array(read('params.bin')).buffer)
for (const { name, offset, elems } of model.layout.tensors) {
  const from = facts.tensors.find(tensor => tensor.name === name)?.offset ?? 0
  state.params().set(saved.subarray(from, from + elems), offset)
}
const tokens = new Int32Array(new Uint8Array(read('tokens.bin')).buffer)

function batchOf(step: number): Batch {
  const inputs = new Int32Array(samples * context)
  const targets = new Int32Array(samples * context)
  for (let sample = 0; sample < samples; sample++) {
    const from = ((step * samples + sample) * (context + 1)) % tokens.length
    inputs.set(tokens.subarray(from, from + context), sample * context)
    targets.set(tokens.subarray(from + 1, from + 1 + context), sample * context)
  }
  const shape = [samples, context]
  return { samples, arrays: { inputs: { data: inputs, shape }, targets: { data: targets, shape } } }
}

function gradients(batch: Batch): number {
  const grads = state.gradientView()
  switch (options.mode) {
    case 'whole':
      return model.trainMicrobatch(batch, state.params(), grads, { accumulate: false }).lossSum
    case 'segments':
      return model.trainMicrobatch(batch, state.params(), grads, { accumulate: false, onBucket: () => undefined })
        .lossSum
    case 'split':
      return model.trainApart(batch, state.params(), grads).lossSum
  }
}

let step = 0
function trainStep(): number {
  const lossSum = gradients(batchOf(step++))
  applyUpdate(simd, state, {
    ...facts.adamw,
    step,
    clipNorm: 0,
    samples,
    sumSquares: simd.sumSquares(state.gradients.byteOffset, state.layout.totalElems),
  })
  return lossSum / samples
}

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)
say({ ready: true, numParams: model.layout.numParams })
for await (const line of readline.createInterface({ input: process.stdin })) {
  const [command, count] = line.split(' ')
  if (command === 'quit') break
  const ms: number[] = []
  const loss: number[] = []
  for (let i = 0; i < Number(count); i++) {
    const started = performance.now()
    loss.push(trainStep())
    ms.push(performance.now() - started)
  }
  say({ ms, loss, ...device.ledger() })
}
model.dispose()
device.dispose()
