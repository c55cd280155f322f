import fc from 'fast-check'
import type { SimulatedRun } from './simulated-run.test.support.ts'
import type { SimulatedWorker } from './simulated-worker.test.support.ts'

const kinds = [
  'kill',
  /** A new process under the same name, at once. */
  'replace',
  /** It says what broke, and ends. */
  'fail',
  /** Its next step comes out wrong. */
  'corrupt',
  /** SIGSTOP, and SIGCONT after a while. */
  'stop',
  /** Its control link breaks: for both ends, or only for its own. */
  'cut-off',
  'cut-off-unseen',
  /** Lanes of two break: in both directions, or in one. */
  'partition',
  'partition-one-way',
  'come',
  'leave',
  'coordinator-restart',
  'coordinator-freeze',
  /** Ctrl-C. */
  'end-run',
] as const

/** One thing that goes wrong, or that someone wants. */
export interface Fault {
  readonly atMs: number
  readonly kind: (typeof kinds)[number]
  /** Picks a worker of those that live. */
  readonly who: number
  readonly other: number
  /** How long it lasts. */
  readonly ms: number
}

export const faults = (
  most: number,
  withinMs: number,
  allowed: readonly Fault['kind'][] = kinds,
): fc.Arbitrary<Fault[]> =>
  fc.array(
    fc.record({
      atMs: fc.nat({ max: withinMs }),
      kind: fc.constantFrom(...allowed),
      who: fc.nat(),
      other: fc.nat(),
      ms: fc.integer({ min: 50, max: 20_000 }),
    }),
    { maxLength: most },
  )

export const allButTheEnd = kinds.filter(kind => kind !== 'end-run')

/** Lets all of them happen to the run, each at its time. */
export function plan(run: SimulatedRun, planned: readonly Fault[]): void {
  let came = 0
  let corrupt = 0
  for (const fault of planned) {
    run.after(fault.atMs, () => {
      if (run.coordinator.hasEnded) return
      const living = run.workers.filter(worker => worker.isAlive)
      const pick = (i: number) => living[i % living.length] as SimulatedWorker
      if (fault.kind === 'come') run.start(`n${came++}`)
      if (living.length === 0) return
      const one = pick(fault.who)
      const other = pick(fault.other)
      switch (fault.kind) {
        case 'come':
          break
        case 'kill':
          run.kill(one)
          break
        case 'replace':
          run.kill(one)
          run.start(one.workerId)
          break
        case 'fail':
          one.fail('test')
          break
        case 'corrupt':
          // Two of three would be a majority.
          if ((one.generation?.members.length ?? 0) > 1 && corrupt++ === 0) one.corrupt()
          break
        case 'stop':
          run.stop(one, fault.ms)
          break
        case 'cut-off':
          run.cutOff(one, true)
          break
        case 'cut-off-unseen':
          run.cutOff(one, false)
          break
        case 'partition':
          run.partition(one, other, fault.ms, true)
          break
        case 'partition-one-way':
          run.partition(one, other, fault.ms, false)
          break
        case 'leave':
          one.leave('told to')
          break
        case 'coordinator-restart':
          run.coordinator.restart(fault.ms / 10)
          break
        case 'coordinator-freeze':
          run.coordinator.freeze(fault.ms / 2)
          break
        case 'end-run':
          run.requestStop('Ctrl-C')
          break
      }
    })
  }
}
