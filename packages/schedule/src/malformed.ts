import { findUnshardable } from './vocabulary-checks.ts'
import { numPieces } from './frozen.ts'
import { describeOp, isFill, isVocabulary, type Schedule, type ScheduleOp } from './schedule.ts'

const isCount = (n: number, least = 0) => Number.isSafeInteger(n) && n >= least

/** Sizes that cannot be, or an op of a stage, microbatch, slice or rank that is not there. */
export function findMalformed(schedule: Schedule): string | undefined {
  const { ranks, stages, microbatches, slices, pipes, ops, promise, paths } = schedule
  for (const [what, count] of Object.entries({ ranks, stages, microbatches, slices })) {
    if (!isCount(count, 1)) return `there are ${count} ${what}`
  }
  if (ops.length !== ranks) return `there are ${ops.length} lists for ${ranks} ranks`
  if (promise !== undefined && promise.length !== ranks) return `${promise.length} promises for ${ranks} ranks`
  for (const places of pipes) {
    if (places.length !== stages) return `a pipe places ${places.length} of ${stages} stages`
    const held = ops.map((_, rank) => places.filter(place => place === rank).length)
    const uneven = held.findIndex(count => count * ranks !== stages)
    if (uneven >= 0) return `rank ${uneven} holds ${held[uneven]} of ${stages} stages`
  }
  for (let microbatch = 0; microbatch < microbatches; microbatch++) {
    const pipe = schedule.pipeOf === undefined ? 0 : schedule.pipeOf[microbatch]
    if (pipe === undefined || pipes[pipe] === undefined) return `microbatch ${microbatch} has no pipe`
    const path = paths === undefined ? [0] : paths[microbatch]
    const fine = path !== undefined && path.length > 0 && new Set(path).size === path.length
    if (!fine || !path.every(stage => isCount(stage) && stage < stages)) {
      return `microbatch ${microbatch} has the path ${JSON.stringify(path)}`
    }
  }
  const unshardable = schedule.vocabulary === undefined ? undefined : findUnshardable(schedule)
  if (unshardable !== undefined) return `the vocabulary is sharded, and ${unshardable}`
  for (const [what, count] of Object.entries(schedule.frozen ?? {})) {
    if (!isCount(count, 1)) return `of its frozen part there are ${count} ${what}`
  }
  for (const [rank, list] of ops.entries()) {
    for (const op of list) {
      if (isPossible(schedule, op)) continue
      const frozen =
        schedule.frozen === undefined
          ? ''
          : `, ${schedule.frozen.layers} frozen layers of ${numPieces(schedule)} pieces`
      const sizes = `${stages} stages, ${microbatches} microbatches and ${slices} slices${frozen}`
      return `rank ${rank} has "${describeOp(op)}"; there are ${sizes}`
    }
  }
  return undefined
}

function isPossible(schedule: Schedule, op: ScheduleOp): boolean {
  const { stages, microbatches, slices, ranks, vocabulary, frozen } = schedule
  if (isFill(op)) {
    const isLayer = isCount(op.layer) && op.layer < (frozen?.layers ?? 0)
    return isLayer && isCount(op.piece) && op.piece < numPieces(schedule)
  }
  if ('stage' in op && !(isCount(op.stage) && op.stage < stages)) return false
  if (!('microbatch' in op)) return true
  if (isVocabulary(op)) return vocabulary === 'sharded' && isCount(op.microbatch) && op.microbatch < microbatches
  if (!(isCount(op.microbatch) && op.microbatch < microbatches)) return false
  if ('peer' in op && !(isCount(op.peer) && op.peer < ranks)) return false
  return slices === 1 ? op.slice === undefined : op.slice !== undefined && isCount(op.slice) && op.slice < slices
}
