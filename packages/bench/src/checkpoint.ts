import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type Bench, type BenchCase, median, range } from './bench-case.ts'
import { places } from './places.ts'
import { runJsonLines } from './run-command.ts'

const steps = 46
const every = 5
const warmUpSteps = 6

interface Step {
  readonly step: number
  readonly stepMs: number
  /** When the step was shown, and how long the one before it was shown before. */
  readonly atMs: number
  readonly gapMs: number
}

/**
 * What a save costs the steps under way. A step counts as saving from the one after which the copy was taken to the one in which the checkpoint was
 * told; all others of the same run are its floor.
 */
export const checkpoint: Bench = {
  name: 'checkpoint',
  about:
    'Time from step to step while a checkpoint is written (the copy of the state included) against the other steps of the same run. The shipped GPT job (3.3 M parameters, 39 MB with moments), a checkpoint every 5 steps, local disk.',
  async run(report) {
    const cases: BenchCase[] = []
    for (const workers of [1, 2]) {
      const { saving, others, saveMs } = await measure(workers)
      const [ours, floor] = [median(saving), median(others)]
      report(
        `${workers} workers: ${ours.toFixed(1)} ms a step while saving (${saving.length} steps), ${floor.toFixed(1)} ms otherwise; a save takes ${median(saveMs).toFixed(0)} ms`,
      )
      cases.push({
        bench: 'checkpoint',
        case: `${workers} workers, step while saving`,
        unit: 'ms',
        ours,
        peer: { name: 'not saving', value: floor },
        floor,
        ratio: ours / floor,
        samples: saving,
        spread: range(saving.map(ms => ms / floor)),
        goal: 'ratio at most 1.1 (spread: of single steps)',
      })
      cases.push({
        bench: 'checkpoint',
        case: `${workers} workers, from copy to durable`,
        unit: 'ms',
        ours: median(saveMs),
        peer: null,
        floor: null,
        ratio: null,
        samples: saveMs,
        spread: range(saveMs.map(ms => ms / median(saveMs))),
        goal: 'for information',
      })
    }
    return cases
  },
}

async function measure(workers: number) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-bench-'))
  const jobFile = path.join(folder, 'saving.job.ts')
  // The shipped job with a checkpoint every few steps and no evaluation among them.
  fs.writeFileSync(
    jobFile,
    `import job from ${JSON.stringify(places.gptJob)}\nexport default { ...job, eval: { every: 0, samples: 16 }, checkpoint: { every: ${every}, keep: 2 } }\n`,
  )
  const made: Step[] = []
  const savedAtMs = new Map<number, number>()
  try {
    const options = [
      '--workers',
      String(workers),
      '--steps',
      String(steps),
      '--run-dir',
      path.join(folder, 'run'),
      '--json',
    ]
    await runJsonLines(process.execPath, {
      args: [places.cli, 'train', jobFile, ...options],
      timeoutMs: 300_000,
      onLine: (line, atMs) => {
        if (line['event'] === 'checkpoint') savedAtMs.set(line['step'] as number, atMs)
        if (line['event'] !== 'step') return
        const step = line['step'] as number
        made.push({ step, stepMs: line['stepMs'] as number, atMs, gapMs: atMs - (made.at(-1)?.atMs ?? 0) })
      },
    })
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
  const shownAtMs = new Map(made.map(({ step, atMs }) => [step, atMs]))
  const spans = [...savedAtMs]
    .filter(([step]) => step < steps)
    .map(([step, to]) => ({ from: shownAtMs.get(step) ?? Number.NaN, to }))
  const measured = made.filter(({ step }) => step > warmUpSteps)
  // The gap before a step is from the former one to it: it was hit when a save was under way at any time of it.
  const isSaving = ({ atMs, gapMs }: Step) => spans.some(({ from, to }) => from < atMs && to > atMs - gapMs)
  return {
    saving: measured.filter(isSaving).map(({ gapMs }) => gapMs),
    others: measured.filter(step => !isSaving(step)).map(({ gapMs }) => gapMs),
    saveMs: spans.map(({ from, to }) => to - from),
  }
}
