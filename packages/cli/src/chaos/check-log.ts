/** A row of the commit log, as it stands in the run's folder. */
export interface CommitRow {
  readonly step: number
  readonly generation: number
  readonly samplesFrom: number
  readonly samplesTo: number
  readonly digest: string
}

/** A generation of the log: where it went on from. */
export interface GenerationRow {
  readonly generation: number
  readonly startStep: number
  /** That the model was cut in: so many ranks, one after the other, take the same samples. Default 1. */
  readonly parts?: number
  /** Of the state that all its members began with; null when it never started. */
  readonly startDigest: string | null
}

/** Samples of each rank of a generation, from a step on. */
export interface DivisionRow {
  readonly generation: number
  readonly fromStep: number
  readonly shares: readonly number[]
}

export interface LogVerdict {
  readonly lostSamples: number
  readonly repeatedSamples: number
  /** Every generation began with the state that its predecessor left. */
  readonly digestsEqual: boolean
  /** What is wrong, in words; empty when nothing is. */
  readonly problems: readonly string[]
}

/**
 * Proves a run from its log alone: of all rows, those hold that no later generation went back behind; their steps are without gaps, their
 * samples follow one another and are all somebody's share, each generation began with the digest that was committed for its first step's
 * predecessor.
 */
export function checkLog(
  commits: readonly CommitRow[],
  generations: readonly GenerationRow[],
  divisions: readonly DivisionRow[],
  globalBatch: number,
): LogVerdict {
  const problems: string[] = []
  const held = heldCommits(commits, generations)
  let digestsEqual = true
  let repeated = 0
  let lost = 0
  let cursor = 0
  for (const [i, commit] of held.entries()) {
    if (commit.step !== i + 1) problems.push(`step ${i + 1} is missing before step ${commit.step}`)
    if (commit.samplesFrom < cursor) repeated += cursor - commit.samplesFrom
    if (commit.samplesFrom > cursor) lost += commit.samplesFrom - cursor
    if (commit.samplesTo - commit.samplesFrom !== globalBatch) {
      problems.push(`step ${commit.step} has ${commit.samplesTo - commit.samplesFrom} samples, not ${globalBatch}`)
    }
    const parts = generations.find(({ generation }) => generation === commit.generation)?.parts ?? 1
    const ofReplicas = sharesOf(commit, divisions)?.filter((_, rank) => rank % parts === 0)
    const taken = ofReplicas?.reduce((sum, share) => sum + share, 0)
    if (taken !== globalBatch) problems.push(`the shares of step ${commit.step} make up ${taken ?? 'no'} samples`)
    cursor = commit.samplesTo
  }
  for (const { generation, startStep, startDigest } of generations) {
    // What held when it began: it may have been gone back behind later.
    const before = commits.findLast(commit => commit.step === startStep && commit.generation < generation)
    if (startDigest === null || before === undefined || before.digest === startDigest) continue
    digestsEqual = false
    problems.push(
      `generation ${generation} began with ${startDigest}, step ${startStep} was committed as ${before.digest}`,
    )
  }
  if (lost > 0) problems.push(`${lost} samples were never used`)
  if (repeated > 0) problems.push(`${repeated} samples were used twice`)
  return { lostSamples: lost, repeatedSamples: repeated, digestsEqual, problems }
}

/** Those of its generation that held at its step. Replicas take theirs one after the other, so the shares say who took which samples. */
const sharesOf = ({ generation, step }: CommitRow, divisions: readonly DivisionRow[]) =>
  divisions
    .filter(row => row.generation === generation && row.fromStep <= step)
    .reduce<DivisionRow | undefined>((last, row) => (row.fromStep > (last?.fromStep ?? 0) ? row : last), undefined)
    ?.shares

/** The rows that make up the run's history: a generation that goes back to an earlier step takes back what was behind it. */
function heldCommits(commits: readonly CommitRow[], generations: readonly GenerationRow[]): CommitRow[] {
  const held: CommitRow[] = []
  for (const { generation, startStep } of generations.toSorted((a, b) => a.generation - b.generation)) {
    while ((held.at(-1)?.step ?? 0) > startStep) held.pop()
    held.push(...commits.filter(commit => commit.generation === generation).toSorted((a, b) => a.step - b.step))
  }
  return held
}
