import { SkeinError } from '@skein/core'
import { type Costs, unitCosts } from './costs.ts'
import { ScheduleErrors } from './errors.ts'
import type { Schedule } from './schedule.ts'

export interface ScheduleOptions {
  /** Ranks in the pipeline, from 1. */
  readonly ranks: number
  /** Microbatches of a step, from 1. */
  readonly microbatches: number
  /** Stages that each rank holds; default: what the rule needs, or 2 where it takes any number. */
  readonly chunks?: number
  /** Pieces of the sequence, for the rules that cut it; default 4. */
  readonly slices?: number
  /** What the rules that look at costs plan for; default: all passes alike. */
  readonly costs?: Costs
  /** Most activations that a rank may hold, for the rules that take a cap; default: their own. */
  readonly cap?: number
}

/** Options with every default filled in. */
export type Sizes = Required<Omit<ScheduleOptions, 'cap'>> & Pick<ScheduleOptions, 'cap'>

/**
 * What is known of a schedule before it is simulated; each held against the simulator. Undefined: not known for these sizes and
 * costs. T is the work of a microbatch on a rank, m the microbatches, and extra what the makespan is over m·T.
 */
export interface ClosedForms {
  readonly extra?: (sizes: Sizes, costs: Costs) => number | undefined
  /** Extra of a step among many, without a barrier between them. */
  readonly steadyExtra?: (sizes: Sizes, costs: Costs) => number | undefined
  /** Most activations held by a rank. */
  readonly peak?: (sizes: Sizes, rank: number) => number | undefined
  /** The same of the rank that holds most, where the others are not known. */
  readonly mostHeld?: (sizes: Sizes) => number | undefined
  /** Messages of all ranks, activations and gradients. */
  readonly messages: (sizes: Sizes) => number
}

/** A rule, and what its paper says of it. */
export interface Family {
  readonly name: string
  readonly title: string
  /** Authors, year, title, and the section with the rule. */
  readonly paper: string
  /** Chunks per rank: the only number it can be, or any. */
  readonly chunks: number | 'any'
  /** Whether it cuts the sequence in slices. */
  readonly slices?: boolean
  /** Whether it is told how much a rank may hold. */
  readonly takesCap?: boolean
  /** Bubble and peak as the paper states them, for the table; where ours differ the note says how. */
  readonly paperSays: { readonly bubble: string; readonly peak: string; readonly note?: string }
  /** Why there is none for these sizes. */
  refuses?(sizes: Sizes): string | undefined
  generate(sizes: Sizes): Schedule
  readonly forms: ClosedForms
}

/** Every default filled in; whether the rule makes such a schedule is not asked. */
export function withDefaultSizes(family: Family, options: ScheduleOptions): Sizes {
  return {
    chunks: family.chunks === 'any' ? 2 : family.chunks,
    slices: family.slices === true ? 4 : 1,
    costs: unitCosts,
    ...options,
  }
}

/** @throws SKEIN_SCHEDULE_OPTIONS that names what is wrong and what would do */
export function sizesOf(family: Family, options: ScheduleOptions): Sizes {
  const sizes = withDefaultSizes(family, options)
  const { ranks, microbatches, chunks, slices, cap } = sizes
  const refuse = (what: string, todo: string) =>
    new SkeinError(ScheduleErrors.OPTIONS, {
      what: `the schedule ${family.name} was asked for with ${what}`,
      why: 'its rule does not make such a schedule',
      todo,
      details: { name: family.name, ranks, microbatches, chunks, slices },
    })
  for (const [name, value] of Object.entries({ ranks, microbatches, chunks, slices })) {
    if (!(Number.isSafeInteger(value) && value >= 1)) throw refuse(`${value} ${name}`, 'pass a whole number from 1')
  }
  if (family.chunks !== 'any' && chunks !== family.chunks) {
    throw refuse(`${chunks} chunks on each rank`, `leave chunks out: it has ${family.chunks}`)
  }
  if (slices !== 1 && family.slices !== true)
    throw refuse(`${slices} slices`, 'leave slices out: it does not cut the sequence')
  if (cap !== undefined && family.takesCap !== true)
    throw refuse(`a cap of ${cap}`, 'leave cap out: what it holds is its own; auto takes one')
  const refused = family.refuses?.(sizes)
  const capped = cap === undefined ? '' : `, and a cap of ${cap}`
  if (refused !== undefined) throw refuse(`${ranks} ranks and ${microbatches} microbatches${capped}`, refused)
  return sizes
}
