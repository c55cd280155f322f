import { piecesOf } from './frozen.ts'
import {
  type ComputeOp,
  type CopyOp,
  isCompute,
  isCopy,
  type FillOp,
  isFill,
  isTransfer,
  isVocabulary,
  type Schedule,
  type ScheduleOp,
  stageAlong,
  type VocabularyOp,
} from './schedule.ts'

/** What an op leaves for others. */
type Result = 'activation' | 'inputGrad' | 'weightGrad' | 'recomputed' | 'offloaded' | 'reloaded'

/** An op with its place and what it waits for. */
export interface GraphNode {
  readonly id: number
  readonly rank: number
  /** Place in the list of its rank. */
  readonly index: number
  readonly op: ScheduleOp
  /** Ids of the nodes whose results it takes; the op before it in its list is not among them. */
  readonly inputs: readonly number[]
}

export interface Graph {
  readonly nodes: readonly GraphNode[]
  /** Per rank, in the order of its list. */
  readonly ranks: readonly (readonly GraphNode[])[]
  /** Results that an op takes and nobody makes. */
  readonly missing: readonly { readonly node: GraphNode; readonly what: string }[]
}

type WorkOp = ComputeOp | CopyOp

const resultKey = (result: Result, op: { stage: number; microbatch: number; slice?: number | undefined }) =>
  `${result} of stage ${op.stage}, microbatch ${op.microbatch}${op.slice === undefined ? '' : `, slice ${op.slice}`}`

const shardKey = ({ op, microbatch }: VocabularyOp, rank: number) => `${op} of rank ${rank}, microbatch ${microbatch}`

const frozenKey = ({ layer, piece }: Pick<FillOp, 'layer' | 'piece'>) =>
  `output of frozen layer ${layer}, piece ${piece}`

const stateKey = (op: 'update' | 'validate', rank: number, step: number) => `${op} of rank ${rank}, step ${step}`

function resultsOf(op: WorkOp): readonly string[] {
  switch (op.op) {
    case 'F':
      return [resultKey('activation', op)]
    case 'B':
      return [resultKey('inputGrad', op)]
    case 'W':
      return [resultKey('weightGrad', op)]
    case 'BW':
      return [resultKey('inputGrad', op), resultKey('weightGrad', op)]
    case 'R':
      return [resultKey('recomputed', op)]
    case 'offload':
      return [resultKey('offloaded', op)]
    case 'reload':
      return [resultKey('reloaded', op)]
  }
}

/**
 * Who waits for whom, as complete list: F(s) ← F(s-1); B(s) ← B(s+1), F(s); W(s) ← B(s); with slices F(q) ← F(q-1), B(q) ← B(q+1);
 * R ← F, B ← R; offload ← F, reload ← offload, B ← reload. s±1 is along the path of the microbatch. Transfers are left out: these
 * are the dependencies that they carry.
 *
 * With a sharded vocabulary, over all ranks: F(0) ← every E; S ← F(last); T ← every S; B(last) ← every T; G ← B(0).
 *
 * A frozen layer takes the one below it, and F(0) what the last one made of its samples a step before, if that step is here.
 *
 * A validated update takes the partial state of the rank before it, and its validation the verdict of the rank after it.
 */
export function graphOf(schedule: Schedule): Graph {
  const producers = new Map<string, number>()
  const ranks: { id: number; rank: number; index: number; op: ScheduleOp; inputs: number[] }[][] = []
  let id = 0
  for (const [rank, ops] of schedule.ops.entries()) {
    const list: (typeof ranks)[number] = []
    for (const [index, op] of ops.entries()) {
      if (isTransfer(op)) continue
      if (isCompute(op) || isCopy(op)) for (const result of resultsOf(op)) producers.set(result, id)
      else if (isVocabulary(op)) producers.set(shardKey(op, rank), id)
      else if (isFill(op)) producers.set(frozenKey(op), id)
      else if (op.op === 'update' || op.op === 'validate') producers.set(stateKey(op.op, rank, op.step ?? 0), id)
      list.push({ id: id++, rank, index, op, inputs: [] })
    }
    ranks.push(list)
  }
  const nodes = ranks.flat()
  const missing: { node: GraphNode; what: string }[] = []
  for (const node of nodes) {
    const { op } = node
    const take = (what: string) => {
      const from = producers.get(what)
      if (from === undefined) missing.push({ node, what })
      else node.inputs.push(from)
    }
    const takeIfMade = (what: string) => producers.has(what) && take(what)
    const takeOfAll = (shard: VocabularyOp) => {
      for (const rank of ranks.keys()) take(shardKey(shard, rank))
    }
    if (isCompute(op) || isCopy(op)) {
      addInputs(schedule, op, take, takeIfMade)
      if (schedule.vocabulary === 'sharded') addShardInputs(schedule, op, takeOfAll)
      if (schedule.frozen !== undefined) addFrozenInputs(schedule, op, takeIfMade)
    } else if (isFill(op)) {
      if (op.layer > 0) take(frozenKey({ ...op, layer: op.layer - 1 }))
    } else if (isVocabulary(op)) addInputsOfShard(schedule, op, take, takeOfAll)
    else if (schedule.updates === 'validated') addStateInputs(schedule, node, takeIfMade)
  }
  return { nodes, ranks, missing }
}

function addInputs(schedule: Schedule, op: WorkOp, take: (what: string) => void, takeIfMade: (what: string) => void) {
  const { stage, microbatch, slice } = op
  const before = stageAlong(schedule, stage, microbatch, -1)
  const after = stageAlong(schedule, stage, microbatch, +1)
  switch (op.op) {
    case 'F':
      if (before !== undefined) take(resultKey('activation', { ...op, stage: before }))
      if (slice !== undefined && slice > 0) take(resultKey('activation', { ...op, slice: slice - 1 }))
      return
    case 'B':
    case 'BW':
      take(resultKey('activation', op))
      takeIfMade(resultKey('recomputed', op))
      takeIfMade(resultKey('reloaded', op))
      if (after !== undefined) take(resultKey('inputGrad', { ...op, stage: after }))
      if (slice !== undefined && slice < schedule.slices - 1) take(resultKey('inputGrad', { ...op, slice: slice + 1 }))
      return
    case 'W':
      return take(resultKey('inputGrad', op))
    case 'R':
    case 'offload':
      return take(resultKey('activation', op))
    case 'reload':
      return take(resultKey('offloaded', op))
  }
}

/** What the first and the last stage take of the passes of all ranks. */
function addShardInputs(
  schedule: Schedule,
  { op, stage, microbatch }: WorkOp,
  takeOfAll: (shard: VocabularyOp) => void,
) {
  if (op === 'F' && stage === 0) takeOfAll({ op: 'E', microbatch })
  if ((op === 'B' || op === 'BW') && stage === schedule.stages - 1) takeOfAll({ op: 'T', microbatch })
}

/** What the first stage takes of the frozen layers, where that is made in a step that is here. */
function addFrozenInputs(schedule: Schedule, { op, stage, microbatch }: WorkOp, takeIfMade: (what: string) => void) {
  const { layers, lead } = schedule.frozen as NonNullable<Schedule['frozen']>
  if (op !== 'F' || stage !== 0) return
  for (const piece of piecesOf(schedule, microbatch - lead)) takeIfMade(frozenKey({ layer: layers - 1, piece }))
}

function addInputsOfShard(
  schedule: Schedule,
  { op, microbatch }: VocabularyOp,
  take: (what: string) => void,
  takeOfAll: (shard: VocabularyOp) => void,
) {
  switch (op) {
    case 'E':
      return
    case 'S':
      return take(resultKey('activation', { stage: schedule.stages - 1, microbatch }))
    case 'T':
      return takeOfAll({ op: 'S', microbatch })
    case 'G':
      return take(resultKey('inputGrad', { stage: 0, microbatch }))
  }
}

function addStateInputs(schedule: Schedule, { op, rank }: GraphNode, takeIfMade: (what: string) => void) {
  if (op.op !== 'update' && op.op !== 'validate') return
  const step = op.step ?? 0
  if (op.op === 'update') takeIfMade(stateKey('update', rank - 1, step))
  else if (rank < schedule.ranks - 1) takeIfMade(stateKey('validate', rank + 1, step))
  else takeIfMade(stateKey('update', rank, step))
}

/**
 * The nodes in an order in which they can run: each after its inputs and after what stands before it in its list. Ends early
 * where every rank waits for another.
 */
export function* inOrder(graph: Graph): Generator<GraphNode> {
  const done = new Uint8Array(graph.nodes.length)
  const heads = graph.ranks.map(() => 0)
  for (let moved = true; moved; ) {
    moved = false
    for (const [rank, list] of graph.ranks.entries()) {
      for (;;) {
        const node = list[heads[rank] as number]
        if (node === undefined || node.inputs.some(input => done[input] === 0)) break
        yield node
        done[node.id] = 1
        heads[rank] = (heads[rank] as number) + 1
        moved = true
      }
    }
  }
}
