import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { seededRandom } from '@skein/core'
import { mallocEnvironment } from '@skein/device'
import { flatLayout, gpt2Params, initialiseGpt2, segmentRanges } from '@skein/model'
import { AskedProcess } from './asked-process.ts'
import { type Bench, type BenchCase, median, range } from './bench-case.ts'
import { places } from './places.ts'
import type { StepMode, TrainStepFacts, TrainStepOptions } from './train-step-process.ts'

const sizes = { layers: 4, width: 256, heads: 8, context: 128, vocab: 256 }
const adamw = { lr: 3e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 }
const samples = 8
const batches = 32
const warmUpSteps = 6
const stepsPerBurst = 4
const defaultRounds = 12

const torchPeer = path.join(places.root, 'packages/bench/peers/gpt_torch.py')
const ourProcess = fileURLToPath(new URL('train-step-process.js', import.meta.url))

const goals: Readonly<Record<string, string>> = {
  'f32 whole': 'at least 1.05 times PyTorch eager',
  'bf16 whole': "at least 1.1 times PyTorch's bf16 autocast",
}

/** Both sides start from the same weights and see the same tokens, so a larger difference means that they do not train the same model. */
const maxLossDifference = { f32: 1e-3, bf16: 2e-2 } as const

export interface TrainStepBenchOptions {
  /** Python with torch; without it the cases have no peer. */
  readonly python?: string
  readonly threads: number
  readonly rounds?: number
  readonly modes?: readonly StepMode[]
  readonly precisions?: readonly ('f32' | 'bf16')[]
}

interface Burst {
  readonly ms: readonly number[]
  readonly loss: readonly number[]
}

/**
 * One training step, from token ids to updated parameters (gradients in the flat shared buffer, AdamW by WASM SIMD), against PyTorch on
 * the same model, data and threads. All trainers stay alive and take turns in short bursts, so that a busy machine hits all alike.
 */
export function trainStepBench(options: TrainStepBenchOptions): Bench {
  return {
    name: 'train-step',
    about: `A training step of a GPT-2 (width ${sizes.width}, ${sizes.layers} layers, ${sizes.context} tokens, batch ${samples}) against PyTorch; ratio = PyTorch's time / ours.`,
    run: report => runTrainSteps(options, report),
  }
}

async function runTrainSteps(options: TrainStepBenchOptions, report: (line: string) => void): Promise<BenchCase[]> {
  const { modes = ['whole', 'segments', 'split'], precisions = ['f32', 'bf16'], rounds = defaultRounds } = options
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-train-step-'))
  const started: AskedProcess[] = []
  const start = async (name: string, command: string, args: string[], env: Readonly<Record<string, string>> = {}) => {
    const asked = await AskedProcess.start(name, command, args, env)
    started.push(asked)
    await asked.ask(`run ${warmUpSteps}`)
    return asked
  }
  try {
    writeInputs(folder)
    const cases: BenchCase[] = []
    for (const precision of precisions) {
      const torchArgs = [torchPeer, '--data', folder, '--threads', String(options.threads)]
      if (precision === 'bf16') torchArgs.push('--bf16')
      const { python } = options
      const torch = python === undefined ? undefined : await start(`PyTorch ${precision}`, python, torchArgs)
      const ours = new Map<StepMode, AskedProcess>()
      for (const mode of modes) {
        const given: TrainStepOptions = { data: folder, mode, precision, kernels: 'graph', threads: options.threads }
        const name = `${precision} ${mode}`
        ours.set(mode, await start(name, process.execPath, [ourProcess, JSON.stringify(given)], mallocEnvironment))
      }
      const torchMs: number[] = []
      const oursMs = new Map(modes.map(mode => [mode, [] as number[]]))
      for (let round = 0; round < rounds; round++) {
        const burst = (asked: AskedProcess) => asked.ask<Burst>(`run ${stepsPerBurst}`)
        const theirs = torch === undefined ? undefined : await burst(torch)
        if (theirs !== undefined) torchMs.push(median(theirs.ms))
        for (const [mode, asked] of ours) {
          const mine = await burst(asked)
          oursMs.get(mode)?.push(median(mine.ms))
          if (theirs !== undefined)
            checkLosses(`${precision} ${mode}`, mine.loss, theirs.loss, maxLossDifference[precision])
        }
      }
      for (const [mode, ms] of oursMs) {
        const ratios = ms.map((value, round) => (torchMs[round] ?? Number.NaN) / value)
        const ratio = torch === undefined ? null : median(ratios)
        const name = `${precision} ${mode}`
        report(
          `${name}: ${median(ms).toFixed(1)} ms, PyTorch ${median(torchMs).toFixed(1)} ms, ratio ${ratio?.toFixed(3)}`,
        )
        cases.push({
          bench: 'train-step',
          case: name,
          unit: 'ms',
          ours: median(ms),
          peer: torch === undefined ? null : { name: torch.name, value: median(torchMs) },
          floor: null,
          ratio,
          samples: ms,
          spread: torch === undefined ? null : range(ratios),
          goal: goals[name] ?? 'for information',
        })
      }
      for (const asked of started.splice(0)) await asked.end()
    }
    return cases
  } finally {
    for (const asked of started) await asked.end()
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

function checkLosses(name: string, ours: readonly number[], torch: readonly number[], allowed: number): void {
  const differences = ours.map((loss, i) => Math.abs(loss - (torch[i] ?? Number.NaN)))
  if (differences.length === torch.length && differences.every(difference => difference <= allowed)) return
  throw new Error(
    `${name}: losses ${ours.join(', ')} differ from PyTorch's ${torch.join(', ')} by more than ${allowed}; the times would compare different work`,
  )
}

/** The model's first weights and the tokens, for both sides. */
function writeInputs(folder: string): void {
  const layout = flatLayout(gpt2Params(sizes, segmentRanges(sizes.layers, 1)))
  const params = new Float32Array(layout.totalElems)
  initialiseGpt2(params, layout, sizes, 1)
  const random = seededRandom(1)
  const tokens = Int32Array.from({ length: batches * samples * (sizes.context + 1) }, () => random.nextInt(sizes.vocab))
  const tensors = layout.tensors.map(({ name, shape, offset }) => ({ name, shape, offset }))
  const facts: TrainStepFacts = { sizes, adamw, samples, tensors }
  fs.writeFileSync(path.join(folder, 'model.json'), JSON.stringify(facts))
  fs.writeFileSync(path.join(folder, 'params.bin'), new Uint8Array(params.buffer))
  fs.writeFileSync(path.join(folder, 'tokens.bin'), new Uint8Array(tokens.buffer))
}
