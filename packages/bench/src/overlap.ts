import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type Bench, median, range } from './bench-case.ts'
import { places } from './places.ts'
import { runJsonLines } from './run-command.ts'

const warmUpSteps = 5

/** Share of the step that two workers stand waiting for reduced gradients after their backward pass. */
export const overlap: Bench = {
  name: 'overlap',
  about:
    'Time waited for gradients after the backward pass as a share of the step, the slower of the workers, each committed step of the shipped GPT job.',
  async run(report) {
    const cases = []
    for (const workers of [2, 4]) {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-bench-'))
      const shares: number[] = []
      await runJsonLines(process.execPath, {
        args: [
          places.cli,
          'train',
          places.gptJob,
          '--workers',
          String(workers),
          '--steps',
          '45',
          '--run-dir',
          folder,
          '--json',
        ],
        timeoutMs: 300_000,
        onLine: line => {
          if (line['event'] !== 'step' || (line['step'] as number) <= warmUpSteps) return
          shares.push((line['waitMs'] as number) / (line['stepMs'] as number))
        },
      })
      fs.rmSync(folder, { recursive: true, force: true })
      const ours = median(shares)
      report(`${workers} workers wait ${(100 * ours).toFixed(1)} % of the step`)
      cases.push({
        bench: 'overlap',
        case: `${workers} workers`,
        unit: 'share of step',
        ours,
        peer: null,
        floor: 0,
        ratio: 0.1 / ours,
        samples: shares,
        spread: range(shares),
        goal: workers === 2 ? 'at most 0.10 (spread: of the shares themselves)' : 'for information',
      })
    }
    return cases
  },
}
