import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { type Bench, median, range } from './bench-case.ts'
import { places } from './places.ts'
import { runJsonLines } from './run-command.ts'

const rounds = 5

/** Time from the command to the first committed step, with everything installed: 1 and 4 workers. Floor: `node -e 0`. */
export const startup: Bench = {
  name: 'startup',
  about: 'Milliseconds from `skein train` to its first committed step, set-up done before; the floor is `node -e 0`.',
  async run(report) {
    const cases = []
    for (const workers of [1, 4]) {
      const samples: number[] = []
      const floors: number[] = []
      for (let round = 0; round < rounds; round++) {
        const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-bench-'))
        const started = performance.now()
        await runJsonLines(process.execPath, { args: ['-e', '0'], timeoutMs: 20_000 })
        floors.push(performance.now() - started)
        let first: number | undefined
        await runJsonLines(process.execPath, {
          args: [
            places.cli,
            'train',
            places.gptJob,
            '--workers',
            String(workers),
            '--steps',
            '2',
            '--run-dir',
            folder,
            '--json',
          ],
          timeoutMs: 120_000,
          onLine: (line, atMs) => {
            if (line['event'] === 'step') first ??= atMs
          },
        })
        fs.rmSync(folder, { recursive: true, force: true })
        if (first === undefined) throw new Error('the run ended without a step')
        samples.push(first)
        report(`${workers} workers: ${first.toFixed(0)} ms`)
      }
      const ours = median(samples)
      cases.push({
        bench: 'startup',
        case: `${workers} worker${workers === 1 ? '' : 's'}`,
        unit: 'ms',
        ours,
        peer: null,
        floor: median(floors),
        ratio: 5000 / ours,
        samples,
        spread: range(samples.map(sample => 5000 / sample)),
        goal: 'first step within 5,000 ms (ratio = 5,000 / ours, ≥ 1)',
      })
    }
    return cases
  },
}
