import { SkeinError } from '@skein/core'
import { PlanErrors } from './errors.ts'
import { addressSpace, type CollectivePlan, describeOp, isSamePlace, isTransfer, type PlanOp } from './plan.ts'
import { lanesOf, opAt, PlanProgress, type Transfer } from './progress.ts'
import { MovedValues } from './moved-values.ts'
import { Hearsay, SymbolicBuffers } from './symbols.ts'

/** Why a plan is wrong. */
export interface PlanProblem {
  /** A range or peer that cannot be; a message without its partner; a circle of waits; a buffer that ends wrong. */
  readonly kind: 'malformed' | 'unmatched' | 'deadlock' | 'wrong-result'
  readonly message: string
}

/** What a plan is run on, to see what it does. */
interface Symbols {
  apply(transfer: Transfer): void
  /** A copy or an encoding; what is wrong with it, if anything. */
  local(rank: number, op: PlanOp): void
  findWrong(): string | undefined
}

function symbolsOf(plan: CollectivePlan): Symbols {
  if (plan.collective.kind === 'barrier') return new Hearsay(plan)
  return plan.spaces === undefined ? new SymbolicBuffers(plan) : new MovedValues(plan, plan.spaces)
}

/** Runs the plan on symbols: which ranks' values each element of each rank is the sum of, and how often. */
export function checkPlan(plan: CollectivePlan): PlanProblem | undefined {
  const malformed = findMalformed(plan)
  if (malformed !== undefined) return { kind: 'malformed', message: malformed }
  const matched = lanesOf(plan)
  if ('unmatched' in matched) return { kind: 'unmatched', message: matched.unmatched }
  const progress = new PlanProgress(plan, matched.lanes)
  const symbols = symbolsOf(plan)
  const running = new Set(matched.lanes.keys())
  for (let moved = true; moved; ) {
    moved = false
    for (let local = progress.takeLocal(); local !== undefined; local = progress.takeLocal()) {
      symbols.local(local.rank, opAt(plan, local.rank, local.index))
      progress.finish(local.rank, local.index)
      moved = true
    }
    for (const lane of running) {
      for (let next = progress.startable(lane); next !== undefined; next = progress.startable(lane)) {
        symbols.apply(next)
        progress.start(lane)
        progress.finish(next.src, next.send)
        progress.finish(next.dst, next.recv)
        moved = true
      }
      if (progress.head(lane) === undefined) running.delete(lane)
    }
  }
  if (!progress.isComplete) return { kind: 'deadlock', message: describeCircle(progress, [...running]) }
  const wrong = symbols.findWrong()
  return wrong === undefined ? undefined : { kind: 'wrong-result', message: wrong }
}

/** @throws SKEIN_PLAN_INVALID with the problem's message. */
export function assertValidPlan(plan: CollectivePlan): void {
  const problem = checkPlan(plan)
  if (problem === undefined) return
  throw new SkeinError(PlanErrors.INVALID, {
    what: `the plan ${plan.name} for ${plan.ranks} ranks and ${plan.elems} elements is invalid (${problem.kind}): ${problem.message}`,
    todo: 'correct its generator',
    details: { name: plan.name, ranks: plan.ranks, elems: plan.elems, ...problem },
  })
}

function findMalformed(plan: CollectivePlan): string | undefined {
  if (plan.ops.length !== plan.ranks) return `there are ${plan.ops.length} lists for ${plan.ranks} ranks`
  if (plan.spaces !== undefined && plan.spaces.length !== plan.ranks) {
    return `there are ${plan.spaces.length} address spaces for ${plan.ranks} ranks`
  }
  for (const [rank, ops] of plan.ops.entries()) {
    for (const [index, op] of ops.entries()) {
      const wrong = wrongPlace(plan, rank, op)
      if (wrong !== undefined) return `op ${index} of rank ${rank}, "${describeOp(op)}", ${wrong}`
    }
  }
  return undefined
}

/** What makes an op impossible whatever the others do. */
function wrongPlace(plan: CollectivePlan, rank: number, op: PlanOp): string | undefined {
  const { from, to } = op
  const end = addressSpace(plan, rank)
  if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || from > to || to > end) {
    return `leaves the buffer [0,${end})`
  }
  if (isTransfer(op)) {
    const { peer } = op
    if (!Number.isInteger(peer) || peer < 0 || peer >= plan.ranks) return 'names a rank that is not there'
    if (peer === rank) return 'is addressed to itself'
    if (from === to && op.op === 'recvReduce') return 'adds nothing'
  } else if (from === to) return 'does nothing'
  if (plan.spaces === undefined && from < to && Math.floor(from / plan.elems) < Math.floor((to - 1) / plan.elems)) {
    return 'crosses from one copy of the buffer into another'
  }
  if (op.op === 'copy' || op.op === 'reduce') {
    if (plan.spaces === undefined && !isSamePlace(plan, op.at, from)) return 'moves an element from its place'
    const size = to - from
    if (!Number.isInteger(op.at) || op.at < 0 || op.at + size > end) return `leaves the buffer [0,${end})`
    if (op.at < to && from < op.at + size) return 'touches its own source'
  }
  const space = plan.spaces?.[rank]
  if (space === undefined) return undefined
  if (op.op === 'recvReduce' || op.op === 'encode' || op.op === 'reduce')
    return 'has no meaning where elements only move'
  const { inputElems, outputElems } = space
  const crosses = (a: number, b: number) =>
    [inputElems, inputElems + outputElems].some(border => a < border && border < b)
  if (crosses(from, to) || (op.op === 'copy' && crosses(op.at, op.at + to - from))) {
    return 'crosses from one part of the addresses into another'
  }
  const written = op.op === 'copy' ? op.at : op.op === 'recv' && from < to ? from : inputElems
  return written < inputElems ? 'writes the input' : undefined
}

/** Follows who waits for whom until it closes: "rank 0 waits in op 0 "…", rank 1 waits in …". */
function describeCircle(progress: PlanProgress, stuckLanes: readonly number[]): string {
  const heads = stuckLanes.map(lane => progress.head(lane)).filter(head => head !== undefined)
  // The first unfinished op of a rank may start as far as this rank goes, so it is the head of its lane: one of these.
  const waitOf = (rank: number) => {
    for (const t of heads) {
      if (t.src === rank && progress.isReady(rank, t.send)) return { index: t.send, peer: t.dst }
      if (t.dst === rank && progress.isReady(rank, t.recv)) return { index: t.recv, peer: t.src }
    }
    return undefined
  }
  const steps: string[] = []
  const seen = new Set<number>()
  let rank = heads[0]?.src as number
  for (let wait = waitOf(rank); wait !== undefined && !seen.has(rank); wait = waitOf(rank)) {
    seen.add(rank)
    steps.push(`rank ${rank} waits in op ${wait.index} "${describeOp(opAt(progress.plan, rank, wait.index))}"`)
    rank = wait.peer
  }
  return `${steps.join(', ')}, and so back to rank ${rank}`
}
