/** Numbers the messages of a channel between this rank and a peer, each direction for itself: both ends count alike. */
export class MessageNumbers {
  readonly #next = new Map<string, number>()

  take(op: 'send' | 'recv', channel: number, peer: number): number {
    const key = `${op} ${channel} ${peer}`
    const number = this.#next.get(key) ?? 0
    this.#next.set(key, number + 1)
    return number
  }
}
