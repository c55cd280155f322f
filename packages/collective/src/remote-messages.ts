import { SkeinError } from '@skein/core'
import { CollectiveErrors } from './errors.ts'
import type { Messages, Transfer } from './messages.ts'
import type { TensorRegion } from './region.ts'
import type { GroupRequest, MessageRequest } from './remote-group.ts'

/** What a word says of its message. */
export const messageWord = { underWay: 0, done: 1, failed: 2 } as const

/** Under way at once; each has a word. */
const maxUnderWay = 4096
/** How long a thread stands still for a message before it hears what else there is. */
const standStillMs = 4

/** Lets messages of other threads, timers and signals in. */
const turnOfTheLoop = () => new Promise<void>(resolve => setImmediate(resolve))

/**
 * Messages of a group in another thread. How each ends is a word in shared memory, which costs nobody anything unless someone waits for it: an
 * answer by message would wake the asking thread in the middle of its work. Requests go over together.
 */
export class RemoteMessages implements Messages {
  readonly #post: (request: GroupRequest) => void
  readonly #failed: Promise<never>
  readonly #words = new Int32Array(new SharedArrayBuffer(maxUnderWay * Int32Array.BYTES_PER_ELEMENT))
  readonly #free = Array.from({ length: maxUnderWay }, (_, i) => maxUnderWay - 1 - i)
  #asked: MessageRequest[] = []

  /** `failed` rejects with what ends the group, some time after that. */
  constructor(post: (request: GroupRequest) => void, failed: Promise<never>) {
    this.#post = post
    this.#failed = failed
    post({ type: 'words', words: this.#words })
  }

  send(region: TensorRegion, peer: number, tag: number): Transfer {
    return this.#ask('send', region, peer, tag)
  }

  recv(region: TensorRegion, peer: number, tag: number): Transfer {
    return this.#ask('recv', region, peer, tag)
  }

  flush(): void {
    if (this.#asked.length === 0) return
    this.#post({ type: 'messages', messages: this.#asked })
    this.#asked = []
  }

  /** The group has ended, maybe before it heard of what was asked for: all that is under way has failed. */
  end(): void {
    for (let word = 0; word < maxUnderWay; word++) {
      Atomics.compareExchange(this.#words, word, messageWord.underWay, messageWord.failed)
    }
  }

  #ask(call: MessageRequest['call'], region: TensorRegion, peer: number, tag: number): Transfer {
    const word = this.#free.pop()
    if (word === undefined) {
      throw new SkeinError(CollectiveErrors.BUSY, {
        what: `${maxUnderWay} messages are under way`,
        why: 'none of them was waited for',
        todo: 'wait for some before the next',
      })
    }
    Atomics.store(this.#words, word, messageWord.underWay)
    this.#asked.push({ call, region, peer, tag, word })
    let isOver = false
    const look = (): boolean => {
      if (isOver) return true
      if (Atomics.load(this.#words, word) !== messageWord.done) return false
      isOver = true
      this.#free.push(word)
      return true
    }
    const wait = async () => {
      this.flush()
      while (!look()) {
        if (Atomics.load(this.#words, word) === messageWord.failed) return this.#failed
        // Woken without a turn of the loop: a quarter of the way of a small message.
        if (Atomics.wait(this.#words, word, messageWord.underWay, standStillMs) === 'timed-out') await turnOfTheLoop()
      }
    }
    return {
      get isDone() {
        return look()
      },
      done: wait,
    }
  }
}
