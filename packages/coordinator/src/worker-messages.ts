import type { LinkId, MembershipEvent } from '@skein/membership'
import type { WorkerMessage } from '@skein/wire'

/** What a worker's message is to membership; undefined for what is no matter of membership. */
export function toEvent(link: LinkId, message: WorkerMessage): MembershipEvent | undefined {
  switch (message.type) {
    case 'join': {
      const { workerId, incarnation, protocol, lane, pid, device, holds, keeps } = message
      return { type: 'joined', link, workerId, incarnation, protocol, lane, pid, device, holds, keeps }
    }
    case 'loaded': {
      const { dataFingerprint, numParams } = message
      return { type: 'loaded', link, dataFingerprint, numParams }
    }
    case 'caught-up':
      return { type: 'caughtUp', link, generation: message.generation, holds: message.holds }
    case 'catch-up-failed': {
      const { generation, error } = message
      return { type: 'catchUpFailed', link, generation, error }
    }
    case 'ready': {
      const { generation, digest } = message
      return { type: 'ready', link, generation, digest }
    }
    case 'vote': {
      const { type: _, ...vote } = message
      return { type: 'voted', link, vote }
    }
    case 'evaluated': {
      const { generation, step, loss, phase } = message
      return { type: 'evaluated', link, generation, step, loss, phase }
    }
    case 'mirrored': {
      const { generation, step, digests } = message
      return { type: 'mirrored', link, generation, step, digests }
    }
    case 'checkpoint-part': {
      const { generation, step } = message
      return { type: 'checkpointPart', link, generation, step }
    }
    case 'checkpointed': {
      const { generation, step, path } = message
      return { type: 'checkpointed', link, generation, step, path }
    }
    case 'checkpoint-failed': {
      const { generation, step, error } = message
      return { type: 'checkpointFailed', link, generation, step, error }
    }
    case 'finished': {
      const { generation, step, peakRssBytes, sampleText, baselineLoss } = message
      return {
        type: 'finished',
        link,
        generation,
        step,
        peakRssBytes,
        ...(sampleText === undefined ? {} : { sampleText }),
        ...(baselineLoss === undefined ? {} : { baselineLoss }),
      }
    }
    case 'failed':
      return { type: 'failed', link, error: message.error }
    case 'peer-lost': {
      const { generation, peerRank, error } = message
      return { type: 'peerLost', link, generation, peerRank, error }
    }
    case 'leave':
      return { type: 'left', link, reason: message.reason }
    // That it lives and moves, and what it is in, is kept beside membership.
    case 'heartbeat':
    case 'flight':
    case 'timeline':
      return undefined
  }
}
