import type { Ms } from '@skein/core'
import type { FaultTime } from './check-times.ts'
import { slackMs } from './check-times.ts'
import type { FaultKind } from './faults.ts'

/** What the run said of its checkpoints. */
export interface CheckpointNews {
  readonly event: 'checkpoint-failed' | 'checkpoint-skipped'
  readonly atMs: Ms
  readonly text: string
}

const toldBy = { disk: 'checkpoint-failed', torn: 'checkpoint-skipped' } as const

/** Faults to checkpoints that the run did not tell of, and checkpoints that failed while no disk was full, in words. */
export function checkCheckpoints(news: readonly CheckpointNews[], faults: readonly FaultTime[]): string[] {
  const isWithin = ({ atMs }: CheckpointNews, { fromMs, untilMs }: FaultTime) =>
    atMs >= fromMs && atMs <= untilMs + slackMs
  const of = (kind: FaultKind) => faults.filter(fault => fault.kind === kind)
  const untold = (['disk', 'torn'] as const).flatMap(kind =>
    of(kind)
      .filter(fault => !news.some(one => one.event === toldBy[kind] && isWithin(one, fault)))
      .map(() => `${kind}: the run said no ${toldBy[kind]}`),
  )
  const unexplained = news.filter(
    one => one.event === 'checkpoint-failed' && !of('disk').some(fault => isWithin(one, fault)),
  )
  return [...untold, ...unexplained.map(({ text }) => `a checkpoint failed while no disk was full: ${text}`)]
}
