import { isGivenUp } from '@skein/membership'

/** What the log of a run says, whichever store keeps it: all that was ever made durable, superseded rows too. */
export interface RunHistory {
  readonly runId: string | undefined
  /** In order. */
  readonly generations: readonly LoggedGeneration[]
  /** In the order of generations and steps. */
  readonly divisions: readonly LoggedDivision[]
  /** In the order of steps, of one step in that of generations: a step made again after a resume has a row in each. */
  readonly commits: readonly LoggedCommit[]
  /** As they were written. */
  readonly checkpoints: readonly LoggedCheckpoint[]
  readonly untrainedLoss: number | undefined
  /** How the coordinator that led last ended the run; undefined where it did not come to that. */
  readonly ending: LoggedEnding | undefined
}

export interface LoggedGeneration {
  readonly generation: number
  readonly startStep: number
  /** That the model was cut in. */
  readonly parts: number
  /** Of the parameters it began with, and of each part of them; null: it never started. */
  readonly startDigest: string | null
  readonly startDigests: readonly string[] | null
  /** By rank. */
  readonly members: readonly { readonly workerId: string; readonly incarnation: string }[]
}

/** Who took how many samples of the steps of a generation, from one on, by rank. */
export interface LoggedDivision {
  readonly generation: number
  readonly fromStep: number
  readonly shares: readonly number[]
}

export interface LoggedCommit {
  readonly step: number
  readonly generation: number
  readonly samplesFrom: number
  readonly samplesTo: number
  readonly digest: string
  /** Of each part of the model: `digest` alone, where it is not cut. */
  readonly digests: readonly string[]
  readonly loss: number | null
}

export interface LoggedCheckpoint {
  readonly step: number
  readonly generation: number
  readonly path: string
}

export interface LoggedEnding {
  readonly status: 'finished' | 'stopped' | 'failed'
  readonly reason: string
}

/** What a new start in the same place has to know. */
export interface LoggedPast {
  readonly runId: string | undefined
  readonly lastGeneration: number
  /** The last committed step of the last generation that committed one; 0 for none. */
  readonly lastStep: number
  readonly lastCheckpoint: LoggedCheckpoint | undefined
  readonly untrainedLoss: number | undefined
}

/** Where a run stands by its log: what a coordinator that is started again goes on from. */
export interface LoggedStand {
  readonly generation: number
  /** The last committed step of the history that holds. */
  readonly step: number
  /** Of each part of the model. */
  readonly digests: readonly string[] | undefined
  readonly samplesTo: number | undefined
  /** Those of that history, at or before that step, the newest first; some may have been removed since. */
  readonly checkpoints: readonly LoggedCheckpoint[]
  /** Members of the last generation, with the samples of a step that each took last. */
  readonly members: readonly (LoggedGeneration['members'][number] & { readonly share: number })[]
}

export function pastOf({ runId, generations, commits, checkpoints, untrainedLoss }: RunHistory): LoggedPast {
  const newest = commits.reduce((newest, { generation }) => Math.max(newest, generation), 0)
  return {
    runId,
    lastGeneration: generations.at(-1)?.generation ?? 0,
    lastStep: commits.findLast(commit => commit.generation === newest)?.step ?? 0,
    lastCheckpoint: checkpoints.at(-1),
    untrainedLoss,
  }
}

/** Undefined where no generation was ever formed. */
export function standOf(history: RunHistory): LoggedStand | undefined {
  const last = history.generations.at(-1)
  if (last === undefined) return undefined
  // A generation begins at the last commit that holds, or goes back to a checkpoint: later rows of older ones do not hold.
  const made = history.commits.findLast(commit => commit.generation === last.generation)
  const step = made?.step ?? last.startStep
  const commit = made ?? heldCommit(history, step)
  const shares = history.divisions.findLast(({ generation }) => generation === last.generation)?.shares
  return {
    generation: last.generation,
    step,
    digests: commit?.digests ?? last.startDigests ?? undefined,
    samplesTo: commit?.samplesTo,
    checkpoints: newestFirst(
      history.checkpoints.filter(checkpoint => checkpoint.step <= step && !isGivenUp(history.generations, checkpoint)),
    ),
    members: last.members.map((member, rank) => ({ ...member, share: shares?.[rank] ?? 0 })),
  }
}

/** The commit of `step` that holds, if the log has one. */
export function heldCommit({ commits }: RunHistory, step: number): LoggedCommit | undefined {
  return commits.findLast(commit => commit.step === step)
}

/** Of one step, the one written last. Sorting keeps the order of equals. */
const newestFirst = (checkpoints: readonly LoggedCheckpoint[]): LoggedCheckpoint[] =>
  checkpoints.toReversed().toSorted((a, b) => b.step - a.step)
