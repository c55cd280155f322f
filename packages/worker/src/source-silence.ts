import { CatchupErrors, type HttpSource } from '@skein/catchup'
import { type Clock, type Ms, SkeinError } from '@skein/core'

/** Nothing from anyone for so long, and it is told of: as long as a link may carry nothing. */
export const silentMs: Ms = 10_000

/** Notices when those who are asked for state all give nothing, whether they refuse, are gone, or swallow what they are asked. */
export class SourceSilence {
  readonly #sources: readonly HttpSource[]
  readonly #clock: Clock
  #numHeard = 0
  #sinceMs: Ms
  #isTold = false

  constructor(sources: readonly HttpSource[], clock: Clock) {
    this.#sources = sources
    this.#clock = clock
    this.#sinceMs = clock.now()
  }

  /** To be called about once a second: what to tell of a silence that has become too long, once. */
  toTell(): SkeinError | undefined {
    const nowMs = this.#clock.now()
    const numHeard = this.#sources.reduce((sum, source) => sum + source.numHeard, 0)
    if (numHeard !== this.#numHeard) {
      this.#numHeard = numHeard
      this.#sinceMs = nowMs
      this.#isTold = false
    }
    if (this.#isTold || nowMs - this.#sinceMs < silentMs) return undefined
    this.#isTold = true
    const names = this.#sources.map(source => source.name).join(', ')
    const trouble = this.#sources.findLast(source => source.trouble !== undefined)?.trouble
    return new SkeinError(CatchupErrors.SOURCES_LOST, {
      what: `no state has come from ${names || 'anyone'} for ${silentMs / 1000} s: ${trouble?.what ?? 'no answer'}`,
      why: 'they cannot be reached from here, or are at something else than training',
      todo: 'see whether the addresses of their lanes can be reached from this machine (firewall, --port, --advertise); they are asked again meanwhile',
      ...(trouble === undefined ? {} : { cause: trouble }),
    })
  }
}
