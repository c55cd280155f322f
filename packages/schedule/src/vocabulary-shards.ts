import { SkeinError } from '@skein/core'
import { upTo } from './build.ts'
import { type Costs, durationOf, linkOf, unitCosts } from './costs.ts'
import { ScheduleErrors } from './errors.ts'
import { type Graph, type GraphNode, graphOf, inOrder } from './graph.ts'
import {
  chunksPerRank,
  isCompute,
  isVocabulary,
  type Schedule,
  type ScheduleOp,
  type VocabularyKind,
} from './schedule.ts'
import { findUnshardable, vocabularyKinds } from './vocabulary-checks.ts'

/** Microbatches that lie between the last stage's forward and its backward: one in S, one in T. */
const deeper = 2

/** Which of the passes that can start goes first: those for which other ranks wait, since they wait for the slowest. */
const rankedFirst: readonly (VocabularyKind | 'own')[] = ['T', 'S', 'E', 'G', 'own']

/**
 * A schedule with the vocabulary dealt out over its ranks: the last stage gives all ranks what it made, each makes its part of the logits
 * (S) and, when all have, its part of the gradients (T); the look-up (E, G) likewise. No stage has a head that sets the pace of the others.
 *
 * A microbatch comes back two later than before, so every rank begins two forwards (of all its stages) earlier: it holds two microbatches more at
 * most. E, S, T and G go where a rank that runs by these costs would do them, as soon as they can start; E no more than two microbatches
 * ahead of the first stage.
 *
 * @throws SKEIN_SCHEDULE_OPTIONS where there is no such rule: two pipes, slices, paths, updates within the step, copies or messages written out
 * @see Yeung et al. 2024, Balancing Pipeline Parallelism with Vocabulary Parallelism, sections 4 and 5 (their Algorithm 1: peak p+2)
 */
export function withVocabularyShards(schedule: Schedule, costs: Costs = unitCosts): Schedule {
  refuseUnshardable(schedule)
  const early = schedule.ops.map(list => forwardsEarlier(list, deeper * chunksPerRank(schedule)))
  const unplaced: Schedule = {
    ...schedule,
    name: `${schedule.name} with a sharded vocabulary`,
    vocabulary: 'sharded',
    ops: early.map(list => [
      ...list,
      ...vocabularyKinds.flatMap(op => upTo(schedule.microbatches).map(microbatch => ({ op, microbatch }))),
    ]),
    ...(schedule.promise === undefined
      ? {}
      : { promise: schedule.promise.map(held => Math.min(schedule.microbatches, held + deeper)) }),
  }
  return { ...unplaced, ops: placed(unplaced, costs) }
}

/** Forwards alone, with the passes that make the loss: T then only puts together what every S has found. */
export function withVocabularyForwards(forwards: Schedule): Schedule {
  const shards = (['E', 'S', 'T'] as const).flatMap(op =>
    upTo(forwards.microbatches).map(microbatch => ({ op, microbatch })),
  )
  const unplaced: Schedule = {
    ...forwards,
    vocabulary: 'sharded',
    ops: forwards.ops.map(list => [...list, ...shards]),
  }
  return { ...unplaced, ops: placed(unplaced, unitCosts) }
}

/**
 * How many microbatches the exchanges between shards must be able to hold, each from the pass that gives to the one that takes: with fewer ranks
 * would wait for each other for good.
 */
export function vocabularyDepth(schedule: Schedule): number {
  const graph = graphOf(schedule)
  let depth = 1
  while ([...inOrder(withDepth(schedule, graph, depth))].length < graph.nodes.length) depth++
  return depth
}

/** The list with each forward where the one stood that is `by` forwards before it. */
function forwardsEarlier(list: readonly ScheduleOp[], by: number): ScheduleOp[] {
  const forwards = list.filter(({ op }) => op === 'F')
  let next = by
  const rest = list.flatMap(op => (op.op === 'F' ? forwards.slice(next, ++next) : [op]))
  return [...forwards.slice(0, by), ...rest]
}

/** Lets the ranks run: each does its own list in order, and passes of the vocabulary between them as `rankedFirst` says. */
function placed(schedule: Schedule, costs: Costs): ScheduleOp[][] {
  const graph = graphOf(schedule)
  const queues = graph.ranks.map(nodes =>
    rankedFirst.map(kind => nodes.filter(({ op }) => (isVocabulary(op) ? op.op : 'own') === kind)),
  )
  const lists: ScheduleOp[][] = queues.map(() => [])
  const free = queues.map(() => 0)
  const ends = new Float64Array(graph.nodes.length).fill(Number.POSITIVE_INFINITY)
  const limits = lookupLimits(graph)
  /** From when on a node can start; infinite where something that it takes has not been begun. */
  const readyAt = ({ rank, inputs, id }: GraphNode) =>
    [...inputs, ...(limits.get(id) ?? [])].reduce((latest, input) => {
      const from = graph.nodes[input]?.rank as number
      const { hop = 0, linkBusy = 0 } = from === rank ? {} : linkOf(costs, from, rank)
      return Math.max(latest, (ends[input] as number) + hop + linkBusy)
    }, free[rank] as number)

  for (let left = graph.nodes.length; left > 0; left--) {
    let best: { readonly queue: GraphNode[]; readonly at: number } | undefined
    for (const own of queues) {
      for (const queue of own) {
        const head = queue[0]
        if (head === undefined || (head.op.op === 'update' && own.flat().length > 1)) continue
        const at = readyAt(head)
        // Of one rank the first kind that can start at that moment.
        if (at < (best?.at ?? Number.POSITIVE_INFINITY)) best = { queue, at }
      }
    }
    const node = best?.queue.shift()
    if (best === undefined || node === undefined) throw stuck(schedule, left)
    lists[node.rank]?.push(node.op)
    free[node.rank] = ends[node.id] = best.at + durationOf(schedule, node.op, costs)
  }
  return lists
}

/** By the id of each E what it comes after: what is looked up long before it is used is memory. */
function lookupLimits(graph: Graph): ReadonlyMap<number, readonly number[]> {
  const firsts = graph.nodes.filter(({ op }) => op.op === 'F' && op.stage === 0)
  const limits = new Map<number, readonly number[]>()
  for (const { id, op } of graph.nodes) {
    if (op.op !== 'E') continue
    const before = firsts.find(first => isCompute(first.op) && first.op.microbatch === op.microbatch - deeper)
    if (before !== undefined) limits.set(id, [before.id])
  }
  return limits
}

/** The graph with what waits for a buffer, where the exchanges hold so many microbatches: see the executor's exchange. */
function withDepth({ stages, ops }: Schedule, graph: Graph, depth: number): Graph {
  const byKey = new Map(graph.nodes.map(node => [keyOf(node.op, node.rank), node.id]))
  const ranks = [...ops.keys()]
  const nodes = graph.nodes.map(node => {
    const { op, rank } = node
    if (!('microbatch' in op)) return node
    const microbatch = op.microbatch - depth
    const shards = (kind: VocabularyKind, of = ranks) => of.map(other => byKey.get(`${kind} ${microbatch} ${other}`))
    const stage = (kind: 'F' | 'B', at: number) => [byKey.get(`${kind} ${microbatch} stage ${at}`)]
    const awaited = (): (number | undefined)[] => {
      switch (op.op) {
        case 'E':
          return [...shards('E'), ...stage('F', 0)]
        case 'S':
          return shards('T', [rank])
        case 'T':
          return [...shards('T'), ...stage('B', stages - 1)]
        case 'F':
          return op.stage === stages - 1 ? shards('S') : []
        case 'B':
        case 'BW':
          return op.stage === 0 ? shards('G') : []
        default:
          return []
      }
    }
    return { ...node, inputs: [...node.inputs, ...awaited().filter(id => id !== undefined)] }
  })
  return { ...graph, nodes, ranks: graph.ranks.map(list => list.map(({ id }) => nodes[id] as GraphNode)) }
}

function keyOf(op: ScheduleOp, rank: number): string {
  if (isVocabulary(op)) return `${op.op} ${op.microbatch} ${rank}`
  return isCompute(op) ? `${op.op === 'BW' ? 'B' : op.op} ${op.microbatch} stage ${op.stage}` : ''
}

function refuseUnshardable(schedule: Schedule): void {
  const isPlain = schedule.ops.every(list => list.every(op => isCompute(op) || op.op === 'update'))
  const why = findUnshardable(schedule) ?? (isPlain ? undefined : 'it has more than passes and an update')
  if (why === undefined) return
  throw new SkeinError(ScheduleErrors.OPTIONS, {
    what: `the vocabulary was to be dealt out over the ranks of the schedule ${schedule.name}`,
    why,
    todo: 'take a schedule with one pipe and without slices, and change it in other ways afterwards',
    details: { name: schedule.name },
  })
}

function stuck({ name }: Schedule, left: number): SkeinError {
  return new SkeinError(ScheduleErrors.INVALID, {
    what: `the schedule ${name} comes to a stand with ${left} ops left`,
    why: 'its forwards cannot begin two microbatches earlier: one of them waits for what comes after it',
    todo: 'take another schedule',
    details: { name, left },
  })
}
