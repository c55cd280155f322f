import { seededRandom } from '@skein/core'
import { z } from 'zod'
import type { FramePlace } from './frame-watch.ts'

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
  /** Nothing reaches a worker and nothing of it reaches anyone, for a while; with a peer: between the two alone. */
  'partition',
  /** Nothing of a worker reaches one peer, for a while; everything else arrives. */
  'one-way',
  /** What a worker sends to its peers crawls, for a while. */
  'slow',
  /** A bit of the next frame that a worker sends is flipped. */
  'corrupt',
  /** The wall clock of a worker and that of the coordinator jump, an hour ahead or back, for a while. */
  'clock',
  /** No file of a worker may grow beyond half a checkpoint, until one has failed: what a full disk does, on any disk. */
  'disk',
  /** SIGKILL the coordinator; the newest checkpoint is cut short (even steps) or altered (odd ones) before it is started again. */
  'torn',
] as const

export type FaultKind = (typeof faultKinds)[number]

/** One fault: done when the step is committed, or at a place of the worker's traffic after that. */
export interface Fault {
  readonly kind: FaultKind
  readonly atStep: number
  /** The worker by its name or its rank then; else, of those that live then in the order of their names, this one (modulo their number). */
  readonly workerId?: string
  readonly rank?: number
  readonly who: number
  /** The other end of a link, by name; default: the next worker after it, for a partition everybody. */
  readonly peer?: string
  /** When the worker sends this frame, counted from the step's commit. */
  readonly place?: FramePlace
  /** Until what was taken away comes back, or what was added is taken away. */
  readonly forMs: number
}

const linkKinds: ReadonlySet<FaultKind> = new Set(['partition', 'one-way', 'slow', 'corrupt'])

/** Whether it needs a network that can be interfered with. */
export const needsNetwork = ({ kind, place }: Fault): boolean => linkKinds.has(kind) || place !== undefined

const checkpointKinds: ReadonlySet<FaultKind> = new Set(['disk', 'torn'])

/** Whether it is done to checkpoints: waits for some, and can only be shown where more come. */
export const needsCheckpoints = ({ kind }: Fault): boolean => checkpointKinds.has(kind)

const longestMs = 8_000
const defaultMs = 1_000

/**
 * The same faults for the same seed, spread over the first nine tenths of the run, in the order of steps. Those to checkpoints leave time for
 * one more before the last, of which a run is not to lose any.
 */
export function drawFaults(seed: number, count: number, steps: number): Fault[] {
  const random = seededRandom(seed)
  return Array.from({ length: count }, () => {
    const kind = faultKinds[random.nextInt(faultKinds.length)] as FaultKind
    const last = Math.max(1, Math.floor((checkpointKinds.has(kind) ? 0.7 : 0.9) * steps))
    return {
      kind,
      atStep: 1 + random.nextInt(last),
      who: random.nextInt(1_000),
      forMs: 200 + random.nextInt(longestMs),
    }
  }).toSorted((a, b) => a.atStep - b.atStep)
}

/** "kill@12" or "kill:w1@12" or "stop:w0@20:6000" (ms), parted by commas. @throws RangeError with the part that is none */
export function parseFaults(text: string): Fault[] {
  return text.split(',').map(part => {
    const match = /^\s*([a-z-]+)(?::([\w.-]+))?@(\d+)(?::(\d+))?\s*$/.exec(part)
    const kind = faultKinds.find(known => known === match?.[1])
    if (match === null || kind === undefined) {
      throw new RangeError(
        `"${part.trim()}" is no fault; write KIND[:WORKER]@STEP[:MS] with one of ${faultKinds.join(', ')}`,
      )
    }
    const [, , workerId, step, ms] = match
    const fault = { kind, atStep: Number(step), who: 0, forMs: Number(ms ?? defaultMs) }
    return workerId === undefined ? fault : { ...fault, workerId }
  })
}

const count = z.number().int().min(0)
const script = z.array(
  z.strictObject({
    kind: z.enum(faultKinds),
    step: count,
    worker: z.string().min(1).exactOptional(),
    rank: count.exactOptional(),
    peer: z.string().min(1).exactOptional(),
    op: count.exactOptional(),
    chunk: count.exactOptional(),
    forMs: count.default(defaultMs),
  }),
)

/** The text of a JSON script: `[{ "kind": "kill", "rank": 2, "step": 5, "op": 0, "chunk": 3 }, …]`. @throws RangeError, SyntaxError */
export function parseScript(text: string): Fault[] {
  const parsed = script.safeParse(JSON.parse(text))
  if (!parsed.success) {
    throw new RangeError(parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '))
  }
  return parsed.data
    .map(({ kind, step, worker, op, chunk, forMs, rank, peer }): Fault => {
      const place: FramePlace = { ...(op === undefined ? {} : { op }), ...(chunk === undefined ? {} : { chunk }) }
      return {
        kind,
        atStep: step,
        who: 0,
        forMs,
        ...(worker === undefined ? {} : { workerId: worker }),
        ...(rank === undefined ? {} : { rank }),
        ...(peer === undefined ? {} : { peer }),
        ...(op === undefined && chunk === undefined ? {} : { place }),
      }
    })
    .toSorted((a, b) => a.atStep - b.atStep)
}
