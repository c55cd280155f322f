import { abortedError, SkeinError } from '@skein/core'
import { chunksOf } from './chunks.ts'
import { CatchupErrors } from './errors.ts'
import type { KeptCopies } from './kept-copies.ts'
import type { CopySource, CopyStanding } from './source.ts'

/**
 * Gets a peer's own copy of a step, which `standing` tells of, into `copies`, in the place of the one that is not `whole`. What is torn, or is not what the peer
 * has said, never counts as held: each chunk comes with a proof of its bytes, and the parameters must digest to the peer's word.
 * @throws SKEIN_CATCHUP_REFUSED where the peer has written over it, SKEIN_CATCHUP_STATE_DIFFERS, SKEIN_ABORTED
 */
export async function fetchCopy(
  source: CopySource,
  standing: CopyStanding,
  copies: KeptCopies,
  {
    whole,
    signal,
    chunkElems,
  }: { readonly whole: number | undefined; readonly signal: AbortSignal; readonly chunkElems?: number },
): Promise<void> {
  const { step, totalElems, digest } = standing
  const slot = copies.vacate(whole)
  for (const chunk of chunksOf(totalElems, chunkElems)) {
    const answer = await source.chunk(chunk, undefined, signal)
    if (signal.aborted) throw abortedError('copying a state', signal)
    if (answer.kind !== 'state' || answer.step !== step) throw otherThanAsked(source, step)
    copies.put(slot, chunk, answer.values)
  }
  copies.filled(slot, step)
  const got = copies.digest(step)
  if (got === digest) return
  copies.vacate(whole)
  throw new SkeinError(CatchupErrors.STATE_DIFFERS, {
    what: `the copy of step ${step} from ${source.name} has digest ${String(got)} here and ${digest} there`,
    why: "memory of this machine or of the peer's is corrupted, or their versions of Skein differ",
    todo: 'install the same version everywhere; if it happens again, test the memory of this machine',
    details: { step, digest, got },
  })
}

const otherThanAsked = (source: CopySource, step: number): SkeinError =>
  new SkeinError(CatchupErrors.BAD_ANSWER, {
    what: `${source.name} gave something else than its copy of step ${step}`,
    why: 'it runs another version of Skein',
    todo: 'install the same version everywhere',
  })
