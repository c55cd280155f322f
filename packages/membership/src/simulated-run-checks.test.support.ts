import { expect } from 'vitest'
import { batch, digestAfter, digestOfAll } from './digest-oracle.test.support.ts'
import type { LogRecord } from './effects.ts'
import type { MembershipConfig } from './state.ts'
import { MembershipErrors } from './errors.ts'
import { testFailure } from './simulated-worker.test.support.ts'
import type { SimulatedRun } from './simulated-run.test.support.ts'

/** What must hold of every run, whatever happened: nobody saw what must not be, and the log tells one history. */
export function checkRun(run: SimulatedRun): void {
  expect(run.coordinator.problems).toEqual([])
  checkLog(run.coordinator.log, run.config, run.coordinator.mirrored)
  // Nobody was put out for good while the run went on: what is late is taken as late, and what is refused may come again.
  const refusals = run.workers.flatMap(worker => worker.refusal ?? [])
  expect(refusals.filter(error => error.code !== MembershipErrors.RUN_ENDED.code)).toEqual([])
}

function checkLog(log: readonly LogRecord[], config: MembershipConfig, mirrored: ReadonlySet<number>): void {
  const { parts } = config

  let generation = 0
  let next = 1
  for (const record of log) {
    if (record.type === 'generation') {
      expect(record.generation, 'generations rise').toBeGreaterThan(generation)
      generation = record.generation
      if (record.startStep + 1 !== next) {
        const saved = log.some(other => other.type === 'checkpoint' && other.step === record.startStep)
        expect(record.startStep + 1, 'it only goes back').toBeLessThan(next)
        const isKept = saved || mirrored.has(record.startStep) || record.startStep === 0
        expect(isKept, `back to step ${record.startStep}, which is on disk or mirrored`).toBe(true)
      }
      next = record.startStep + 1
    }
    if (record.type === 'generation') checkMembers(record.members, config)
    if (record.type === 'shares') {
      expect(record.generation, 'no shares for a generation that is over').toBe(generation)
      expect(record.fromStep, 'shares of a step that nobody can have begun').toBe(next + 2)
      checkShares(record.shares)
    }
    if (record.type !== 'commit') continue
    expect(record.generation, 'no commit of a generation that is over').toBe(generation)
    expect(record.step, 'steps without gaps').toBe(next)
    expect([record.samplesFrom, record.samplesTo], 'each sample once').toEqual([(next - 1) * batch, next * batch])
    expect(record.digest, 'what one undisturbed worker would have').toBe(digestOfAll(parts, next))
    const digests = Array.from({ length: parts }, (_, part) => digestAfter(part, next))
    expect(record.digests, 'a digest of each part').toEqual(parts === 1 ? undefined : digests)
    next++
  }
  expect(log.filter(record => record.type === 'ended').length).toBeLessThanOrEqual(1)
}

/** Whole replicas, whose members take the same samples. */
function checkMembers(members: readonly { readonly rank: number; readonly share: number }[], config: MembershipConfig) {
  const { parts, replicas, maxWorkers } = config
  expect(members.length % parts, 'whole replicas').toBe(0)
  if (replicas !== undefined)
    expect(replicas, 'a number that the batch can be divided among').toContain(members.length / parts)
  expect(members.length).toBeGreaterThan(0)
  expect(members.length).toBeLessThanOrEqual(maxWorkers)
  expect(members.map(({ rank }) => rank)).toEqual(members.map((_, index) => index))
  const shareOf = (rank: number) => members[rank - (rank % parts)]?.share
  expect(members.map(({ share }) => share)).toEqual(members.map(({ rank }) => shareOf(rank)))
  checkShares(members.filter(({ rank }) => rank % parts === 0).map(({ share }) => share))
}

const checkShares = (shares: readonly number[]) =>
  expect(
    shares.reduce((sum, share) => sum + share, 0),
    'shares make up the batch',
  ).toBe(batch)

/** Whether the last worker that was there broke by itself, which ends a run; that it was the last one is watched where it is decided. */
export const hasFailedAlone = (run: SimulatedRun): boolean => run.state.outcome?.error?.code === testFailure

/** The run has come to its good end: its last state is on disk, and everyone who lives knows and holds what is committed. */
export function checkGoodEnd(run: SimulatedRun): void {
  const { outcome, committed, checkpoint, config } = run.state
  expect(outcome?.status, outcome?.reason).toBe(committed.step === config.totalSteps ? 'finished' : 'stopped')
  expect(checkpoint?.step ?? 0, 'the last state is on disk').toBe(committed.step)
  expect(run.coordinator.log.at(-1)?.type).toBe('ended')
  for (const worker of run.workers) {
    const { state } = worker
    // One that was told of its first generation and of the end in one breath holds nothing.
    if (worker.rank < 0 || !worker.isDone || state === undefined) continue
    expect(state.step, `${worker.workerId} went on`).toBeLessThanOrEqual(committed.step)
    expect(state.digest, `what ${worker.workerId} holds`).toBe(digestAfter(state.part, state.step))
  }
}

export const lastStep = (run: SimulatedRun): number =>
  run.coordinator.log.findLast(record => record.type === 'commit')?.step ?? 0
