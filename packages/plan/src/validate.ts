import { SkeinError } from '@skein/core'
import { PlanErrors } from './errors.ts'
import { checkingWork } from './checking-work.ts'
import { findMalformed, findUselessEncoding } from './malformed.ts'
import { MovedValues } from './moved-values.ts'
import { type CollectivePlan, describeOp, type PlanOp } from './plan.ts'
import { lanesOf, opAt, PlanProgress, type Transfer } from './progress.ts'
import { Hearsay, SymbolicBuffers } from './symbols.ts'

/** Why a plan is wrong. */
export interface PlanProblem {
  /** A range or peer that cannot be; a message without its partner; a circle of waits; a buffer that ends wrong; too much to check. */
  readonly kind: 'malformed' | 'unmatched' | 'deadlock' | 'wrong-result' | 'too-much'
  readonly message: string
}

export interface CheckOptions {
  /** Most work that a check may take, in cells looked at, some ns each: for plans of strangers. Default: no limit. */
  readonly maxWork?: number
}

/** What a plan is run on, to see what it does. */
interface Symbols {
  /** Cells looked at so far beyond those that could be told beforehand. */
  readonly work: number
  apply(transfer: Transfer): void
  /** A copy, a local sum or an encoding. */
  local(rank: number, op: PlanOp): void
  findWrong(): string | undefined
}

function symbolsOf(plan: CollectivePlan): Symbols {
  if (plan.collective.kind === 'barrier') return new Hearsay(plan)
  return plan.spaces === undefined ? new SymbolicBuffers(plan) : new MovedValues(plan, plan.spaces)
}

/** Runs the plan on symbols: which ranks' values each element of each rank is the sum of, and how often. */
export function checkPlan(plan: CollectivePlan, options: CheckOptions = {}): PlanProblem | undefined {
  const { maxWork = Number.POSITIVE_INFINITY } = options
  const malformed = findMalformed(plan)
  if (malformed !== undefined) return { kind: 'malformed', message: malformed }
  const tooMuch: PlanProblem = { kind: 'too-much', message: `its check would look at more than ${maxWork} cells` }
  if (maxWork < Number.POSITIVE_INFINITY && checkingWork(plan) > maxWork) return tooMuch
  const useless = findUselessEncoding(plan)
  if (useless !== undefined) return { kind: 'malformed', message: useless }
  const matched = lanesOf(plan)
  if ('unmatched' in matched) return { kind: 'unmatched', message: matched.unmatched }
  const progress = new PlanProgress(plan, matched.lanes)
  const symbols = symbolsOf(plan)
  for (;;) {
    if (symbols.work > maxWork) return tooMuch
    const local = progress.takeLocal()
    if (local !== undefined) {
      symbols.local(local.rank, opAt(plan, local.rank, local.index))
      progress.finish(local.rank, local.index)
      continue
    }
    const lane = progress.takeWoken()
    if (lane === undefined) break
    for (let next = progress.startable(lane); next !== undefined; next = progress.startable(lane)) {
      symbols.apply(next)
      progress.start(lane)
      progress.finish(next.src, next.send)
      progress.finish(next.dst, next.recv)
    }
  }
  if (!progress.isComplete) return { kind: 'deadlock', message: describeCircle(progress) }
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

/** Follows who waits for whom until it closes: "rank 0 waits in op 0 "…", rank 1 waits in …". */
function describeCircle(progress: PlanProgress): string {
  const heads = [...progress.lanes.keys()].map(lane => progress.head(lane)).filter(head => head !== undefined)
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
