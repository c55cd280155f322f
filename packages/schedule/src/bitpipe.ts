import { alternate, messagesOver, scheduleOf, upTo } from './build.ts'
import { isUnit, unitCosts } from './costs.ts'
import type { Family, Sizes } from './family.ts'
import { mirrored, wave } from './placement.ts'
import type { ComputeOp, Schedule } from './schedule.ts'
import { simulate } from './simulate.ts'

/**
 * Two V pipes in opposite directions over two copies of the weights, half of the microbatches in each, so that one pipe's bubble is
 * the other's work. Made for p microbatches; more are such units, each merged into the one before it.
 *
 * The copies start alike and sum their gradients before each update, so they stay alike. That sum is of two partial sums: a run is
 * not the bits of one process, as it is with one copy.
 */
export const bitpipe: Family = {
  name: 'bitpipe',
  title: 'BitPipe',
  paper:
    'Wu et al. 2024, BitPipe: Bidirectional Interleaved Pipeline Parallelism for Accelerating Large Models Training',
  chunks: 2,
  paperSays: {
    bubble: '(p-2)/(3m+p-2)',
    peak: 'p in the middle, 3p/4+1/2 at the ends, two copies of the weights',
    note: 'ours has it at m=p, and at p=4; more units at p=8 idle a little more',
  },
  refuses: ({ ranks, microbatches }) =>
    ranks % 2 !== 0
      ? 'pass an even number of ranks'
      : microbatches % ranks !== 0
        ? `pass a multiple of ${ranks} microbatches`
        : undefined,
  generate(sizes) {
    const unit = oneUnit(sizes)
    const units = sizes.microbatches / sizes.ranks
    return units === 1 ? unit : merged(sizes, unit, units)
  },
  forms: {
    extra: ({ ranks, microbatches }, costs) =>
      isUnit(costs) && ranks >= 4 && (microbatches === ranks || ranks === 4) ? ranks - 2 : undefined,
    peak: ({ ranks, microbatches }, rank) =>
      microbatches === ranks && ranks >= 4 && ranks % 4 === 0 && (rank === 0 || rank === ranks - 1)
        ? (3 * ranks) / 4 + 0.5
        : undefined,
    messages: ({ ranks, microbatches }) => messagesOver(2 * (ranks - 1), microbatches),
  },
}

/** The lists for p microbatches: even ones go down from rank 0, odd ones up from the last. */
function oneUnit(sizes: Pick<Sizes, 'ranks'>): Schedule {
  const { ranks } = sizes
  const half = ranks / 2
  const places = wave(ranks, 2)
  const list = (rank: number) => {
    // Near: the pipe that begins in this half of the ranks.
    const isLow = rank < half
    const along = isLow ? rank : ranks - 1 - rank
    const n = half - along
    const passes = (op: 'F' | 'BW') => {
      const next = new Map<string, number>()
      return (pipe: 'near' | 'far', chunk: 0 | 1): ComputeOp => {
        const fromZero = (pipe === 'near') === isLow
        const stages = (fromZero ? places : mirrored(places, ranks)).flatMap((place, stage) =>
          place === rank ? [stage] : [],
        )
        const count = next.get(`${pipe} ${chunk}`) ?? 0
        next.set(`${pipe} ${chunk}`, count + 1)
        return { op, stage: stages[chunk] as number, microbatch: 2 * count + (fromZero ? 0 : 1) }
      }
    }
    const times = (count: number, what: () => readonly ComputeOp[]) => upTo(count).flatMap(what)
    const forward = passes('F')
    const backward = passes('BW')
    const forwards = [
      ...times(n, () => [forward('near', 0)]),
      ...times(half - n, () => [forward('far', 0), forward('near', 0)]),
      ...times(n, () => [forward('far', 0), forward('far', 1)]),
      ...times(half - n, () => [forward('near', 1), forward('far', 1)]),
      ...times(n, () => [forward('near', 1)]),
    ]
    const backwards = [
      ...times(n, () => [backward('near', 1)]),
      ...times(half - n, () => [backward('far', 1), backward('near', 1)]),
      ...times(n, () => [backward('far', 1), backward('far', 0)]),
      ...times(half - n, () => [backward('near', 0), backward('far', 0)]),
      ...times(n, () => [backward('near', 0)]),
    ]
    return alternate(forwards, backwards, ranks + half + along)
  }
  return laidOut({ ranks, microbatches: ranks }, upTo(ranks).map(list))
}

function laidOut(sizes: Pick<Sizes, 'ranks' | 'microbatches'>, lists: readonly (readonly ComputeOp[])[]): Schedule {
  const { ranks, microbatches } = sizes
  const down = wave(ranks, 2)
  return scheduleOf('bitpipe', sizes, {
    pipes: [down, mirrored(down, ranks)],
    pipeOf: upTo(microbatches).map(microbatch => microbatch % 2),
    lists,
    promise: upTo(ranks).map(() => (microbatches === ranks ? ranks : ranks + 0.5)),
  })
}

/** Each unit begins 2p + 1/2 after the one before it; ops stand in the order of when they would start. Found by search. */
function merged(sizes: Sizes, unit: Schedule, units: number): Schedule {
  const shift = 2 * sizes.ranks + 0.5
  const lists = simulate(unit, unitCosts).ops.map(list =>
    upTo(units)
      .flatMap(k =>
        list.flatMap(({ op, start }) =>
          op.op === 'F' || op.op === 'BW'
            ? [{ at: start + k * shift, op: { ...op, microbatch: op.microbatch + k * sizes.ranks } }]
            : [],
        ),
      )
      .toSorted((a, b) => a.at - b.at)
      .map(({ op }) => op),
  )
  return laidOut(sizes, lists)
}
