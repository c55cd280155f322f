import { SkeinError } from '@skein/core'
import { peakActivations } from './activations.ts'
import { findAstray } from './copies.ts'
import { ScheduleErrors } from './errors.ts'
import { findFrozenMissing, findFrozenTorn } from './frozen.ts'
import { type Graph, type GraphNode, graphOf, inOrder } from './graph.ts'
import { findOutOfOrder } from './list-order.ts'
import { findMalformed } from './malformed.ts'
import { type ComputeOp, describeOp, isVocabulary, rankOf, type Schedule } from './schedule.ts'
import { findTakenAcrossVerdicts } from './tentative.ts'
import { findUnmatched } from './transfers.ts'
import { findShardsMissing } from './vocabulary-checks.ts'
import { findWeightsAway } from './weights.ts'

/** Why a schedule is wrong. */
export interface ScheduleProblem {
  readonly kind:
    | 'malformed' // sizes that cannot be, or an op of something that is not there
    | 'misplaced' // on a rank that does not hold the stage
    | 'missing' // work of a microbatch that nobody does, or an input that nobody makes
    | 'doubled'
    | 'order' // against the order on a rank: its inputs come later, gradients out of turn, an update too early
    | 'deadlock' // a circle of waits
    | 'memory' // more held than promised
    | 'copies' // an activation used while it is on the host, or not whole again
    | 'unmatched' // a message without its partner
    | 'weights' // a stage computed while its weights are away
  readonly message: string
}

type Found = ScheduleProblem | undefined

/** The first thing that is wrong, looked for in this order: sizes, places, each op once, order, waits, copies, memory, messages, weights. */
export function checkSchedule(schedule: Schedule): ScheduleProblem | undefined {
  const early =
    problem('malformed', findMalformed(schedule)) ??
    findMisplaced(schedule) ??
    findMissingOrDoubled(schedule) ??
    problem('order', findOutOfOrder(schedule))
  if (early !== undefined) return early
  const graph = graphOf(schedule)
  return (
    findWithoutInput(graph) ??
    problem('order', findTakenAcrossVerdicts(schedule, graph)) ??
    findCircle(graph) ??
    problem('copies', findAstray(schedule)) ??
    findTooMuchHeld(schedule) ??
    problem('unmatched', findUnmatched(schedule)) ??
    problem('weights', findWeightsAway(schedule))
  )
}

/** @throws SKEIN_SCHEDULE_INVALID with the problem's message. */
export function assertValidSchedule(schedule: Schedule): void {
  const found = checkSchedule(schedule)
  if (found === undefined) return
  const { name, ranks, microbatches } = schedule
  throw new SkeinError(ScheduleErrors.INVALID, {
    what: `the schedule ${name} for ${ranks} ranks and ${microbatches} microbatches is invalid (${found.kind}): ${found.message}`,
    todo: 'correct its rule',
    details: { name, ranks, microbatches, ...found },
  })
}

function problem(kind: ScheduleProblem['kind'], message: string | undefined): Found {
  return message === undefined ? undefined : { kind, message }
}

function findMisplaced(schedule: Schedule): Found {
  for (const [rank, ops] of schedule.ops.entries()) {
    for (const op of ops) {
      if (isVocabulary(op)) continue
      if ('microbatch' in op) {
        const holder = rankOf(schedule, op.stage, op.microbatch)
        if (holder !== rank)
          return problem('misplaced', `rank ${rank} has "${describeOp(op)}", which rank ${holder} holds`)
      } else if ('stage' in op && !schedule.pipes.some(places => places[op.stage] === rank)) {
        return problem('misplaced', `rank ${rank} has "${describeOp(op)}", which it does not hold`)
      }
    }
  }
  return problem('misplaced', findFrozenTorn(schedule))
}

/** Each piece of each microbatch, at each stage of its path: one F, and one BW or one B and one W. */
function findMissingOrDoubled(schedule: Schedule): Found {
  const counts = new Map<string, number>()
  for (const [rank, op] of schedule.ops.flatMap((list, on) => list.map(one => [on, one] as const))) {
    if (op.op === 'update' || op.op === 'validate' || op.op === 'gather' || op.op === 'release') continue
    // Copies of a stage on several ranks are reduced on each; each rank has its passes of the vocabulary.
    const key = op.op === 'reduce' || isVocabulary(op) ? `${describeOp(op)} on rank ${rank}` : describeOp(op)
    if (counts.has(key)) return problem('doubled', `"${key}" is there twice`)
    counts.set(key, 1)
  }
  const has = (op: ComputeOp) => counts.has(describeOp(op))
  let pieces = 0
  for (let microbatch = 0; microbatch < schedule.microbatches; microbatch++) {
    const path = schedule.paths?.[microbatch] ?? Array.from({ length: schedule.stages }, (_, stage) => stage)
    for (const stage of path) {
      for (let slice = 0; slice < schedule.slices; slice++) {
        pieces++
        const piece = schedule.slices === 1 ? { stage, microbatch } : { stage, microbatch, slice }
        const rank = rankOf(schedule, stage, microbatch)
        const lacks = (op: ComputeOp) => problem('missing', `nobody does "${describeOp(op)}"; it is rank ${rank}'s`)
        if (!has({ op: 'F', ...piece })) return lacks({ op: 'F', ...piece })
        const [both, input, weight] = [
          has({ op: 'BW', ...piece }),
          has({ op: 'B', ...piece }),
          has({ op: 'W', ...piece }),
        ]
        if (both && (input || weight)) {
          return problem('doubled', `"${describeOp({ op: 'BW', ...piece })}" is there beside its ${input ? 'B' : 'W'}`)
        }
        if (!both && !input) return lacks({ op: weight ? 'B' : 'BW', ...piece })
        if (!both && !weight) return lacks({ op: 'W', ...piece })
      }
    }
  }
  const shard = findShardsMissing(schedule)
  if (shard !== undefined) return problem('missing', shard)
  const frozen = findFrozenMissing(schedule)
  if (frozen !== undefined) return problem('missing', frozen)
  const forwards = schedule.ops.flat().filter(op => op.op === 'F').length
  return forwards === pieces
    ? undefined
    : problem(
        'doubled',
        `there are ${forwards} forwards for ${pieces} pieces of work: some are off the path of their microbatch`,
      )
}

function findWithoutInput({ missing }: Graph): Found {
  const first = missing[0]
  if (first === undefined) return undefined
  return problem(
    'missing',
    `"${describeOp(first.node.op)}" on rank ${first.node.rank} takes the ${first.what}, which nobody makes`,
  )
}

/** Runs all lists with messages that cost nothing and are never in each other's way. */
function findCircle(graph: Graph): Found {
  const done = new Set<number>()
  const heads = graph.ranks.map(() => 0)
  for (const { id, rank } of inOrder(graph)) {
    done.add(id)
    heads[rank] = (heads[rank] as number) + 1
  }
  if (done.size === graph.nodes.length) return undefined
  return problem('deadlock', describeCircle(graph, heads, done))
}

/** Follows who waits for whom until it closes. */
function describeCircle(graph: Graph, heads: readonly number[], done: ReadonlySet<number>): string {
  const headOf = (rank: number) => graph.ranks[rank]?.[heads[rank] as number]
  const steps: string[] = []
  const seen = new Set<number>()
  let node: GraphNode | undefined = [...graph.ranks.keys()].map(headOf).find(head => head !== undefined)
  while (node !== undefined && !seen.has(node.rank)) {
    seen.add(node.rank)
    const awaited: GraphNode | undefined = graph.nodes[node.inputs.find(input => !done.has(input)) ?? -1]
    if (awaited === undefined) break
    steps.push(
      `rank ${node.rank} waits in "${describeOp(node.op)}" for "${describeOp(awaited.op)}" of rank ${awaited.rank}`,
    )
    node = headOf(awaited.rank)
  }
  return `${steps.join(', ')}: a circle`
}

function findTooMuchHeld(schedule: Schedule): Found {
  for (const [rank, held] of peakActivations(schedule).entries()) {
    const promised = schedule.promise?.[rank] ?? Number.POSITIVE_INFINITY
    if (held > promised + 1e-9)
      return problem('memory', `rank ${rank} holds ${held} activations, and promised ${promised}`)
  }
  return undefined
}
