/** What has been opened, to be closed in the opposite order. (Node 22 has no AsyncDisposableStack.) */
export class Resources {
  readonly #closers: (() => void | Promise<void>)[] = []

  /** Takes ownership of `resource`. */
  own<T>(resource: T, close: (resource: T) => void | Promise<void>): T {
    this.#closers.push(() => close(resource))
    return resource
  }

  /** Closes everything, also what comes after a failure; then throws the first failure. Idempotent. */
  async close(): Promise<void> {
    const failures: unknown[] = []
    for (let closer = this.#closers.pop(); closer !== undefined; closer = this.#closers.pop()) {
      try {
        await closer()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
