import { type RegionDType, regionDTypes, type TensorRegion } from './region.ts'

/** How a message is, in the table. `arriving`: the last of its frames has begun to come in. */
export const messageState = { underWay: 0, done: 1, failed: 2, arriving: 3 } as const

export interface MessageRequest {
  readonly call: 'send' | 'recv'
  readonly region: TensorRegion
  readonly peer: number
  readonly tag: number
  /** Its row, until it is over. */
  readonly row: number
}

/** Rows, and with them messages under way at once. */
export const maxUnderWay = 4096

/** Numbers of a row: call, byte offset, elements, dtype, peer, tag. */
const rowNumbers = 6
const calls = ['send', 'recv'] as const

/**
 * Of the words before the states. `bell` changes whenever the serving thread is to look, `asked` counts requests, `awaited` is 1 + the peer of
 * the message that the asking thread waits for, or 0.
 */
const word = { bell: 0, asked: 1, isClosed: 2, awaited: 3 } as const
const numWords = 4

const stateBytes = (numWords + 2 * maxUnderWay) * Int32Array.BYTES_PER_ELEMENT
const tableBytes = stateBytes + rowNumbers * maxUnderWay * Float64Array.BYTES_PER_ELEMENT

/**
 * Messages that one thread asks for and another one serves, in memory that both see: a row each, the order in which they were asked for, and how
 * each ended. Either thread may sleep until the other has something for it, and pays nothing where it does not: a message between the threads
 * would cost both of them more than the rest of the way (docs/lab-log.md).
 */
export class MessageTable {
  /** To be given to the other thread, which makes a table of its own over it. */
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  /** How each row ends. */
  readonly #states: Int32Array
  /** Rows in the order of their requests, round and round: there are as many places as rows. */
  readonly #order: Int32Array
  readonly #rows: Float64Array
  /** Of this thread: requests put in, or taken out. */
  #count = 0

  constructor(memory?: SharedArrayBuffer) {
    this.memory = memory ?? new SharedArrayBuffer(tableBytes)
    this.#words = new Int32Array(this.memory, 0, numWords)
    this.#states = new Int32Array(this.memory, numWords * 4, maxUnderWay)
    this.#order = new Int32Array(this.memory, (numWords + maxUnderWay) * 4, maxUnderWay)
    this.#rows = new Float64Array(this.memory, stateBytes)
    // A row that is free is not under way: nobody is to be woken for it at the end.
    if (memory === undefined) this.#states.fill(messageState.done)
  }

  /** Asking thread: the row must be free. Seen by the other thread from `ring` on. */
  ask({ call, region, peer, tag, row }: MessageRequest): void {
    const at = row * rowNumbers
    this.#rows[at] = calls.indexOf(call)
    this.#rows[at + 1] = region.byteOffset
    this.#rows[at + 2] = region.elems
    this.#rows[at + 3] = regionDTypes.indexOf(region.dtype)
    this.#rows[at + 4] = peer
    this.#rows[at + 5] = tag
    Atomics.store(this.#states, row, messageState.underWay)
    this.#order[this.#count++ % maxUnderWay] = row
    // Looked at after the state is set: a table that is closed later fails this row, too.
    if (this.#isClosed) this.end(row, messageState.failed)
  }

  /** Asking thread: lets the other one see what was asked for. */
  ring(): void {
    Atomics.store(this.#words, word.asked, this.#count | 0)
    this.#ringBell()
  }

  stateOf(row: number): number {
    return Atomics.load(this.#states, row)
  }

  /** Asking thread: stands still until there is news of the message, at most so long; whether there is any. */
  standStill(row: number, ms: number): boolean {
    const state = this.stateOf(row)
    return isOver(state) || Atomics.wait(this.#states, row, state, ms) !== 'timed-out'
  }

  /** Asking thread: looks at the message until it is over, at most so long. */
  watch(row: number, ms: number): void {
    const untilMs = performance.now() + ms
    while (!isOver(this.stateOf(row)) && performance.now() < untilMs);
  }

  /** Asking thread: it waits for a message of this peer, or for none. */
  awaits(peer: number | undefined): void {
    Atomics.store(this.#words, word.awaited, peer === undefined ? 0 : peer + 1)
  }

  /** Serving thread: for whose message the other thread waits at this moment. */
  get awaitedPeer(): number | undefined {
    const awaited = Atomics.load(this.#words, word.awaited)
    return awaited === 0 ? undefined : awaited - 1
  }

  /** Serving thread: what was asked for since the last call, in order. */
  take(): MessageRequest[] {
    const taken: MessageRequest[] = []
    for (const asked = Atomics.load(this.#words, word.asked); (this.#count | 0) !== asked; this.#count++) {
      const row = this.#order[this.#count % maxUnderWay] as number
      const numberAt = (index: number) => this.#rows[row * rowNumbers + index] as number
      taken.push({
        call: calls[numberAt(0)] as MessageRequest['call'],
        region: { byteOffset: numberAt(1), elems: numberAt(2), dtype: regionDTypes[numberAt(3)] as RegionDType },
        peer: numberAt(4),
        tag: numberAt(5),
        row,
      })
    }
    return taken
  }

  /** Serving thread: calls `onAsked` with what is asked for, until the table is closed. */
  async serve(onAsked: (messages: readonly MessageRequest[]) => void): Promise<void> {
    while (!this.#isClosed) {
      const bell = Atomics.load(this.#words, word.bell)
      const taken = this.take()
      if (taken.length > 0) onAsked(taken)
      // Unlike a message to the thread this calls no listener and reads nothing but the table.
      const woken = Atomics.waitAsync(this.#words, word.bell, bell)
      if (woken.async) await woken.value
    }
  }

  /** Serving thread: whoever waits for the message may wake up, which takes as long as the rest of it. */
  arriving(row: number): void {
    this.#change(row, messageState.underWay, messageState.arriving)
  }

  /** Either thread: how the message ended. The first word stays. */
  end(row: number, state: number): void {
    if (this.#change(row, messageState.underWay, state) === messageState.arriving) {
      this.#change(row, messageState.arriving, state)
    }
  }

  /** Either thread: nothing is served any more, and all that is under way has failed. */
  close(): void {
    Atomics.store(this.#words, word.isClosed, 1)
    this.#ringBell()
    for (let row = 0; row < maxUnderWay; row++) this.end(row, messageState.failed)
  }

  /** What it was before. */
  #change(row: number, from: number, to: number): number {
    const before = Atomics.compareExchange(this.#states, row, from, to)
    if (before === from) Atomics.notify(this.#states, row)
    return before
  }

  get #isClosed(): boolean {
    return Atomics.load(this.#words, word.isClosed) === 1
  }

  #ringBell(): void {
    Atomics.add(this.#words, word.bell, 1)
    Atomics.notify(this.#words, word.bell)
  }
}

const isOver = (state: number) => state === messageState.done || state === messageState.failed
