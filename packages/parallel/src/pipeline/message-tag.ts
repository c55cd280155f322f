import { SkeinError } from '@skein/core'
import { numPieces, type Schedule, stageAlong, type TransferOp } from '@skein/schedule'
import { ParallelErrors } from '../errors.ts'

/** Steps whose messages have tags of their own; a message of another step is never taken for one of this. */
const distinctSteps = 256
const tagsPerStep = 2 ** 32 / distinctSteps

/** The last two of a step: its global state on its way up the ranks, and back down. */
const stateTags = { partial: tagsPerStep - 1, verdict: tagsPerStep - 2 } as const

/** Says what a message is: the activation or the gradient of which piece, made for which stage, in which step. */
export type MessageTag = number

/**
 * The tag that both ends of a transfer give it. Messages are matched by it and never by their order: where stages lie in a V or a wave,
 * they are not taken in the order in which they are sent.
 */
export function messageTag(schedule: Schedule, op: TransferOp, step: number): MessageTag {
  const { stages, slices } = schedule
  const isActivation = op.op === 'sendActivation' || op.op === 'recvActivation'
  const isSend = op.op === 'sendActivation' || op.op === 'sendGradient'
  const piece = op.microbatch * slices + (op.slice ?? 0)
  const maker = isSend ? op.stage : (stageAlong(schedule, op.stage, op.microbatch, isActivation ? -1 : +1) as number)
  return (step % distinctSteps) * tagsPerStep + (piece * stages + maker) * 2 + (isActivation ? 0 : 1)
}

/** Of what a step's frozen layers make of a piece: behind those of its activations and gradients. */
export function frozenTag(schedule: Schedule, step: number, piece: number): MessageTag {
  return (step % distinctSteps) * tagsPerStep + tensorTags(schedule) + piece
}

/** Of what ranks tell each other about the step as a whole. */
export function stateTag(step: number, what: keyof typeof stateTags): MessageTag {
  return (step % distinctSteps) * tagsPerStep + stateTags[what]
}

/** @throws SKEIN_PARALLEL_SCHEDULE_SIZE where a step has more messages than there are tags for it */
export function assertTagged(schedule: Schedule): void {
  const { name, microbatches, slices, stages } = schedule
  const wanted = tensorTags(schedule) + numPieces(schedule)
  if (wanted <= stateTags.verdict) return
  throw new SkeinError(ParallelErrors.SCHEDULE_SIZE, {
    what: `a step of the schedule ${name} has up to ${wanted} messages: ${microbatches} microbatches × ${slices} slices × ${stages} stages × 2, and ${numPieces(schedule)} of frozen layers`,
    why: `messages of a step are told apart by ${stateTags.verdict} numbers`,
    todo: 'take larger microbatches, or fewer slices or chunks',
    details: { name, microbatches, slices, stages },
  })
}

const tensorTags = ({ microbatches, slices, stages }: Schedule) => microbatches * slices * stages * 2
