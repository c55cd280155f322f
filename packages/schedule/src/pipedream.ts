import { messagesOver } from './build.ts'
import { workOf } from './costs.ts'
import type { Family } from './family.ts'
import { oneFOneB } from './one-f-one-b.ts'
import type { Schedule } from './schedule.ts'

/**
 * The lists of 1F1B without an end of the step: each stage updates after each of its backwards, and the microbatches run on.
 * A microbatch goes back through the weights that it went forward through, so rank r keeps p-r versions of them.
 */
export const pipedream: Family = {
  name: 'pipedream',
  title: 'PipeDream',
  paper:
    'Narayanan et al. 2019, PipeDream: Generalized Pipeline Parallelism for DNN Training, sections 3.2 and 3.3 (weight stashing)',
  chunks: 1,
  paperSays: { bubble: '0 once the pipe is full', peak: 'p-r on rank r, and p-r versions of the weights' },
  generate(sizes) {
    const schedule = oneFOneB.generate(sizes)
    return {
      ...schedule,
      name: 'pipedream',
      ops: schedule.ops.map(list =>
        list.flatMap(op => (op.op === 'update' ? [] : op.op === 'BW' ? [op, { op: 'update' } as const] : [op])),
      ),
      updates: 'microbatch',
    }
  },
  forms: {
    extra: ({ ranks }, costs) => (ranks - 1) * workOf(costs),
    steadyExtra: () => 0,
    peak: ({ ranks, microbatches }, rank) => Math.min(microbatches, ranks - rank),
    messages: ({ ranks, microbatches }) => messagesOver(ranks - 1, microbatches),
  },
}

/** What a rank's list means for its weights. */
export interface WeightVersions {
  /** Most versions alive at once: the newest, and those that microbatches on their way back will use. */
  readonly stash: number
  /** Per microbatch how many updates its gradient is late: made from weights that old when it is applied. */
  readonly delays: readonly number[]
}

/** Walks each rank's list; a microbatch takes at its backward the version that it took at its forward. One stage a rank. */
export function weightVersions(schedule: Schedule): readonly WeightVersions[] {
  return schedule.ops.map(list => {
    const takenBy = new Map<number, number>()
    const delays: number[] = []
    let version = 0
    let stash = 1
    for (const op of list) {
      if (op.op === 'F') takenBy.set(op.microbatch, version)
      if (op.op === 'BW' || op.op === 'W') {
        delays[op.microbatch] = version - (takenBy.get(op.microbatch) as number)
        stash = Math.max(stash, new Set([version, ...takenBy.values()]).size)
        takenBy.delete(op.microbatch)
      }
      if (op.op === 'update') version++
    }
    return { stash, delays }
  })
}
