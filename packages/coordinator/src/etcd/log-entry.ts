import type { LogRecord, RunEvent } from '@skein/membership'
import type { LoggedCheckpoint, LoggedCommit, LoggedDivision, LoggedGeneration, RunHistory } from '../run-history.ts'
import type { LifeFacts } from '../run-log.ts'

/** One durable write of a coordinator: the value of one key. */
export interface LogEntry {
  /** Counts the coordinators that led the run, from 1. */
  readonly life: number
  /** Drawn for this write, so that one whose answer was lost is known again. */
  readonly id: string
  readonly at: string
  /** In the first one of a life. */
  readonly begins?: LifeFacts
  readonly records: readonly LogRecord[]
  readonly untrainedLoss?: number
}

export const untrainedLossIn = (events: readonly RunEvent[]): number | undefined =>
  events.flatMap(event => (event.event === 'eval' && event.phase === 'untrained' ? [event.loss] : []))[0]

/** What all entries of a run say, in their order. */
export function historyOf(entries: readonly LogEntry[]): RunHistory {
  const generations = new Map<number, LoggedGeneration>()
  const divisions: LoggedDivision[] = []
  const commits: LoggedCommit[] = []
  const checkpoints: LoggedCheckpoint[] = []
  let runId: string | undefined
  let untrainedLoss: number | undefined
  let ending: RunHistory['ending']
  for (const entry of entries) {
    if (entry.begins !== undefined) {
      runId ??= entry.begins.runId
      ending = undefined
    }
    untrainedLoss ??= entry.untrainedLoss
    for (const record of entry.records) {
      switch (record.type) {
        case 'generation': {
          const { generation, startStep, parts = 1, members } = record
          generations.set(generation, {
            generation,
            startStep,
            parts,
            startDigest: null,
            startDigests: null,
            members: members.map(({ workerId, incarnation }) => ({ workerId, incarnation })),
          })
          divisions.push({ generation, fromStep: startStep + 1, shares: members.map(({ share }) => share) })
          break
        }
        case 'shares': {
          const { generation, fromStep, shares } = record
          divisions.push({ generation, fromStep, shares })
          break
        }
        case 'started': {
          const begun = generations.get(record.generation)
          const { digest, digests = [digest] } = record
          if (begun !== undefined)
            generations.set(record.generation, { ...begun, startDigest: digest, startDigests: digests })
          break
        }
        case 'commit': {
          const { type: _, digests = [record.digest], ...commit } = record
          commits.push({ ...commit, digests })
          break
        }
        case 'checkpoint':
          checkpoints.push({ step: record.step, generation: record.generation, path: record.path })
          break
        case 'ended':
          ending = { status: record.status, reason: record.reason }
          break
      }
    }
  }
  return {
    runId,
    generations: [...generations.values()],
    divisions,
    commits: commits.toSorted((a, b) => a.step - b.step || a.generation - b.generation),
    checkpoints,
    untrainedLoss,
    ending,
  }
}
