import { SkeinError } from '@skein/core'
import { CollectiveErrors } from './errors.ts'
import { type MessageRequest, MessageTable, maxUnderWay, messageState } from './message-table.ts'
import type { Messages, Transfer } from './messages.ts'
import type { TensorRegion } from './region.ts'
import type { GroupRequest } from './remote-group.ts'

/** How long a thread stands still for a message before it hears what else there is: the end of the group is heard at once. */
const standStillMs = 20
/** How long it looks at a message that is arriving, before it stands still again. A thread that is woken takes half of that to run. */
const watchMs = 0.2

/** Lets messages of other threads, timers and signals in. */
const turnOfTheLoop = () => new Promise<void>(resolve => setImmediate(resolve))

/**
 * Messages of a group in another thread. What is asked for and how it ends are in shared memory (`MessageTable`), which costs nobody anything
 * unless someone waits for it: an answer by message would wake the asking thread in the middle of its work. Requests go over together.
 */
export class RemoteMessages implements Messages {
  readonly #failed: Promise<never>
  readonly #table = new MessageTable()
  readonly #free = Array.from({ length: maxUnderWay }, (_, i) => maxUnderWay - 1 - i)
  #hasAsked = false

  /** `failed` rejects with what ends the group, some time after that. */
  constructor(post: (request: GroupRequest) => void, failed: Promise<never>) {
    this.#failed = failed
    post({ type: 'messages', memory: this.#table.memory })
  }

  send(region: TensorRegion, peer: number, tag: number): Transfer {
    return this.#ask('send', region, peer, tag)
  }

  recv(region: TensorRegion, peer: number, tag: number): Transfer {
    return this.#ask('recv', region, peer, tag)
  }

  flush(): void {
    if (!this.#hasAsked) return
    this.#hasAsked = false
    this.#table.ring()
  }

  /** The group has ended, maybe before it heard of what was asked for: all that is under way has failed. */
  end(): void {
    this.#table.close()
  }

  #ask(call: MessageRequest['call'], region: TensorRegion, peer: number, tag: number): Transfer {
    const row = this.#free.pop()
    if (row === undefined) {
      throw new SkeinError(CollectiveErrors.BUSY, {
        what: `${maxUnderWay} messages are under way`,
        why: 'none of them was waited for',
        todo: 'wait for some before the next',
      })
    }
    const table = this.#table
    table.ask({ call, region, peer, tag, row })
    this.#hasAsked = true
    let isOver = false
    const look = (): boolean => {
      if (isOver) return true
      if (table.stateOf(row) !== messageState.done) return false
      isOver = true
      this.#free.push(row)
      return true
    }
    const wait = async () => {
      this.flush()
      if (look()) return
      table.awaits(peer)
      let hasWatched = false
      while (!look()) {
        const state = table.stateOf(row)
        if (state === messageState.failed) return this.#failed
        if (state === messageState.arriving && !hasWatched) {
          hasWatched = true
          table.watch(row, watchMs)
          continue
        }
        // Woken without a turn of the loop: a quarter of the way of a small message.
        if (!table.standStill(row, standStillMs)) await turnOfTheLoop()
      }
      table.awaits(undefined)
    }
    return {
      get isDone() {
        return look()
      },
      done: wait,
    }
  }
}
