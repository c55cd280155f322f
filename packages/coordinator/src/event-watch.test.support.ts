import { type Deferred, deferred, within } from '@skein/core'

/** An event of a run, and when this process had it. */
export type SeenEvent = Readonly<Record<string, unknown>> & { readonly event: string; readonly atMs: number }

/** All events of a run as they come. To be closed. */
export class EventWatch {
  readonly events: SeenEvent[] = []
  readonly #closing = new AbortController()
  #news: Deferred<void> = deferred()
  #end: string | undefined

  constructor(url: string, token: string) {
    this.#read(url, token).then(
      () => this.#over('the run has ended'),
      (error: unknown) => this.#over(String(error)),
    )
  }

  /** The first event that fits, from number `from` on; rejects when the run ends, or the time passes, without it. */
  until(fits: (event: SeenEvent) => boolean, what: string, { from = 0, timeoutMs = 20_000 } = {}): Promise<SeenEvent> {
    return within(this.#waits(fits, what, from), { what, timeoutMs })
  }

  close(): void {
    this.#closing.abort()
  }

  async #waits(fits: (event: SeenEvent) => boolean, what: string, from: number): Promise<SeenEvent> {
    for (;;) {
      const found = this.events.slice(from).find(fits)
      if (found !== undefined) return found
      if (this.#end !== undefined) throw new Error(`${this.#end} without ${what}`)
      await this.#news.promise
    }
  }

  async #read(url: string, token: string): Promise<void> {
    const headers = { authorization: `Bearer ${token}` }
    const { body } = await fetch(`${url}/events`, { headers, signal: this.#closing.signal })
    let text = ''
    for await (const part of body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += part
      const lines = text.split('\n')
      text = lines.pop() ?? ''
      const atMs = performance.now()
      this.events.push(...lines.map(line => ({ ...(JSON.parse(line) as SeenEvent), atMs })))
      this.#announce()
    }
  }

  #over(how: string): void {
    this.#end = how
    this.#announce()
  }

  #announce(): void {
    const news = this.#news
    this.#news = deferred()
    news.resolve()
  }
}
