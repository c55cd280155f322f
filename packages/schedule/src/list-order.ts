import { findShardsOutOfOrder } from './vocabulary-checks.ts'
import { findFrozenUnsorted } from './frozen.ts'
import {
  type ComputeOp,
  describeOp,
  isCompute,
  isFill,
  isVocabulary,
  type Schedule,
  type ScheduleOp,
} from './schedule.ts'

/** What is wrong with the order of one rank's list, whatever the others do. */
export function findOutOfOrder(schedule: Schedule): string | undefined {
  for (const [rank, list] of schedule.ops.entries()) {
    const passes = list.filter(isCompute)
    const wrong =
      findTooEarly(passes) ??
      findUnsorted(schedule, passes) ??
      findShardsOutOfOrder(schedule, list) ??
      findFrozenUnsorted(list) ??
      findWrongUpdates(schedule, list)
    if (wrong !== undefined) return `on rank ${rank} ${wrong}`
  }
  return undefined
}

/** A backward before its forward, or a weight gradient before its input gradient. */
function findTooEarly(passes: readonly ComputeOp[]): string | undefined {
  const done = new Set<string>()
  for (const pass of passes) {
    if (pass.op !== 'F') {
      const needed = describeOp({ ...pass, op: pass.op === 'W' ? 'B' : 'F' })
      if (!done.has(needed)) return `"${describeOp(pass)}" stands before "${needed}"`
    }
    done.add(describeOp(pass))
  }
  return undefined
}

/**
 * Weight gradients of a stage that do not go up by microbatch: their sum would not have the bits of one process. In each pipe apart,
 * since each has weights of its own; where microbatches take paths of their own there is no such sum to be alike.
 */
function findUnsorted(schedule: Schedule, passes: readonly ComputeOp[]): string | undefined {
  if (schedule.paths !== undefined) return undefined
  const newest = new Map<string, number>()
  for (const pass of passes) {
    if (pass.op !== 'W' && pass.op !== 'BW') continue
    const sum = `${pass.stage} ${schedule.pipeOf?.[pass.microbatch] ?? 0}`
    const before = newest.get(sum) ?? -1
    if (pass.microbatch < before) return `"${describeOp(pass)}" stands after that of microbatch ${before}`
    newest.set(sum, pass.microbatch)
  }
  return undefined
}

/** What holds the device. */
const isWork = (op: ScheduleOp) => isCompute(op) || isVocabulary(op) || isFill(op)

/** One update, after all passes, or one right after each weight gradient; and the verdict on the last one before any backward. */
function findWrongUpdates(schedule: Schedule, list: readonly ScheduleOp[]): string | undefined {
  const isEach = schedule.updates === 'microbatch'
  let updates = 0
  let gradients = 0
  for (const op of list) {
    if (op.op === 'update') updates++
    if (isEach && updates > gradients) return `update ${updates} stands before the gradient that it applies`
    if (!isWork(op)) continue
    if (!isEach && updates > 0) return `"${describeOp(op)}" stands after the update`
    if (op.op === 'W' || op.op === 'BW') gradients++
    if (isEach && gradients > updates + 1) {
      return `there is no update between the gradient before it and "${describeOp(op)}"`
    }
  }
  const wanted = isEach ? gradients : 1
  if (updates !== wanted) return `there are ${updates} updates, not ${wanted}`
  if (list.findLast(op => isWork(op) || op.op === 'update')?.op !== 'update') return 'the last update is not the end'

  const verdicts = list.filter(({ op }) => op === 'validate').length
  if (verdicts !== (schedule.updates === 'validated' ? 1 : 0)) {
    return `there are ${verdicts} validations of the step before`
  }
  const backward = list.findIndex(({ op }) => op === 'B' || op === 'BW')
  const isLate = backward >= 0 && list.findIndex(({ op }) => op === 'validate') > backward
  return isLate ? 'a backward stands before the validation of the step before' : undefined
}
