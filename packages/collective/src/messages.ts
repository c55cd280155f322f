import type { Collectives } from './collectives.ts'
import type { TensorRegion } from './region.ts'

/** A message on its way, one way or the other; its region is borrowed until it is done. */
export interface Transfer {
  readonly isDone: boolean
  /** Settles when it is; rejects with what ended the group. */
  done(): Promise<void>
}

/** Messages for one who sends and receives many, and has other things to do meanwhile. As `send` and `recv` of `Collectives`. */
export interface Messages {
  send(region: TensorRegion, peer: number, tag: number): Transfer
  recv(region: TensorRegion, peer: number, tag: number): Transfer
  /** What was asked for may wait until now, or until someone waits for one: several go to the group at once. */
  flush(): void
}

/** Those of a group in this thread. */
export function messagesOf(group: Pick<Collectives, 'send' | 'recv'>): Messages {
  const transfer = (handle: Promise<unknown>): Transfer => {
    let isDone = false
    const done = handle.then(() => {
      isDone = true
    })
    // Awaited by who needs it; until then a failure must not count as unhandled.
    done.catch(() => undefined)
    return {
      get isDone() {
        return isDone
      },
      done: () => done,
    }
  }
  return {
    send: (region, peer, tag) => transfer(group.send(region, peer, tag)),
    recv: (region, peer, tag) => transfer(group.recv(region, peer, tag)),
    flush: () => undefined,
  }
}
