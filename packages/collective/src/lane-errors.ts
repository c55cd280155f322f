import { SkeinError } from '@skein/core'
import type { CloseReason } from '@skein/transport'
import { WireErrors } from '@skein/wire'
import { CollectiveErrors } from './errors.ts'
import type { OpRun } from './op-run.ts'

/** The lane to or from `peer` is gone. `run`: the op that has been under way longest, if any. */
export function lostError(peer: number, what: string, cause: SkeinError, run: OpRun | undefined): SkeinError {
  return new SkeinError(CollectiveErrors.PEER_LOST, {
    what: `${what}, during ${during(run)}`,
    why: `rank ${peer} died, was stopped, or the network between broke`,
    todo: "read that worker's log; a new generation goes on without it",
    details: { peer, ...opDetails(run), reason: cause.code },
    cause,
  })
}

/** `run` needs a lane that its peer has closed in good order before. */
export function needlessError(peer: number, ended: CloseReason, run: OpRun): SkeinError {
  return lostError(peer, `the lane with rank ${peer} is gone: ${ended.what}`, ended.error, run)
}

/** What a lane from `peer` reported, as an error of the group. */
export function laneError(peer: number, error: SkeinError, run: OpRun | undefined): SkeinError {
  if (error.code.startsWith('SKEIN_COLLECTIVE_')) return error
  const isStale = error.code === WireErrors.FRAME_GENERATION.code
  return new SkeinError(isStale ? CollectiveErrors.STALE_GENERATION : CollectiveErrors.BAD_FRAME, {
    what: `the lane from rank ${peer} failed during ${during(run)}: ${error.what}`,
    ...(error.why === undefined ? {} : { why: error.why }),
    todo: error.todo,
    details: { peer, ...opDetails(run), reason: error.code },
    cause: error,
  })
}

export function corruptError(peer: number, run: OpRun, chunk: number): SkeinError {
  return new SkeinError(CollectiveErrors.CORRUPT, {
    what: `chunk ${chunk} of ${run.describe()} from rank ${peer} arrived with another checksum than it was sent with`,
    why: 'the network or the memory of one of the two machines altered it, or the sender wrote its buffer while it was sent',
    todo: 'the generation ends and the step is run again; if it comes back, test the machine of that rank',
    details: { peer, opSeq: run.opSeq, chunk },
  })
}

function during(run: OpRun | undefined): string {
  return run?.describe() ?? 'a pause between collectives'
}

function opDetails(run: OpRun | undefined): { readonly opSeq?: number; readonly op?: string } {
  return run === undefined ? {} : { opSeq: run.opSeq, op: `${run.algorithm} ${run.kind}` }
}
