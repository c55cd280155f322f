import { seededRandom } from '@skein/core'

/** What can be done to a run from outside. */
export const faultKinds = [
  /** SIGKILL a worker; it is started again after a while. */
  'kill',
  /** SIGSTOP, and SIGCONT after a while: shorter than the silence that counts as death, or longer. */
  'stop',
  /** SIGTERM: it leaves after the steps under way; another one takes its place later. */
  'leave',
  /** One more worker. */
  'join',
  /** Four more at once, killed after a while. */
  'storm',
  /** Killed and started again three times, as soon as it is back. */
  'flap',
  /** A second process under the same name. */
  'duplicate',
  /** SIGKILL the coordinator; it is started again from its log. */
  'coordinator',
] as const

export type FaultKind = (typeof faultKinds)[number]

/** One fault: done when the step is committed. */
export interface Fault {
  readonly kind: FaultKind
  readonly atStep: number
  /** Of the workers that live then, this one (modulo their number, in the order of their names). */
  readonly who: number
  /** Until what was taken away comes back, or what was added is taken away. */
  readonly forMs: number
}

const longestMs = 8_000

/** The same faults for the same seed, spread over the first nine tenths of the run, in the order of steps. */
export function drawFaults(seed: number, count: number, steps: number): Fault[] {
  const random = seededRandom(seed)
  const last = Math.max(1, Math.floor(0.9 * steps))
  return Array.from({ length: count }, () => ({
    kind: faultKinds[random.nextInt(faultKinds.length)] as FaultKind,
    atStep: 1 + random.nextInt(last),
    who: random.nextInt(1_000),
    forMs: 200 + random.nextInt(longestMs),
  })).toSorted((a, b) => a.atStep - b.atStep)
}

/** "kill@12" or "kill:w1@12" or "stop:w0@20:6000" (ms), parted by commas. @throws RangeError with the part that is none */
export function parseFaults(text: string): (Fault & { readonly workerId?: string })[] {
  return text.split(',').map(part => {
    const match = /^\s*([a-z]+)(?::([\w.-]+))?@(\d+)(?::(\d+))?\s*$/.exec(part)
    const kind = faultKinds.find(known => known === match?.[1])
    if (match === null || kind === undefined) {
      throw new RangeError(
        `"${part.trim()}" is no fault; write KIND[:WORKER]@STEP[:MS] with one of ${faultKinds.join(', ')}`,
      )
    }
    const [, , workerId, step, ms] = match
    const fault = { kind, atStep: Number(step), who: 0, forMs: Number(ms ?? 1_000) }
    return workerId === undefined ? fault : { ...fault, workerId }
  })
}
