import { SkeinError } from '@skein/core'
import { CodecErrors } from './errors.ts'

/**
 * What quantisation took from a worker's contributions, kept to be added to its next one: s = Δ + e; e ← s - D(Q(s)). Over time
 * what is sent then adds up to what was meant: Σ D(Q(s)) = Σ Δ + e(start) - e(end).
 *
 * A round runs from `begin` to `commit` or `abort`. Its residuals go to a second array, and the arrays change places at `commit`:
 * an aborted round costs nothing and leaves the old e, so the same Δ can be sent again to other members. e belongs to the worker,
 * not to its rank: a change of membership keeps it, a worker that dies takes it along.
 *
 * It is for a worker's own contribution, encoded before the first send. A sum of several is encoded without: who owns which part
 * of it changes with the membership.
 * @see Seide et al. 2014; Karimireddy et al. 2019
 */
export class ErrorFeedback {
  #error: Float32Array
  #residual: Float32Array
  #inRound = false

  /**
   * Borrows two arrays [elems] for its life: e as it starts (zeros, or a snapshot), and one to work in. Views of a shared memory let
   * a kernel write the residuals: `encodeResidual(dst, src, feedback.begin(Δ, s).byteOffset, n)`.
   * @throws SKEIN_CODEC_FEEDBACK for arrays of two lengths
   */
  constructor(error: Float32Array, work: Float32Array) {
    this.#error = error
    this.#residual = work
    this.#sameLength('work', work)
  }

  static ofLength(elems: number): ErrorFeedback {
    return new ErrorFeedback(new Float32Array(elems), new Float32Array(elems))
  }

  /** e as of the last `commit`, [elems]; to be read only, valid until the next. */
  get error(): Float32Array {
    return this.#error
  }

  /**
   * Writes s = Δ + e; `s` may be `delta` itself. Returns the array [elems] where the residual of each
   * element of s belongs: zeros now, for what is not encoded is not lost.
   * @throws SKEIN_CODEC_FEEDBACK for other lengths, or in a round
   */
  begin(delta: Float32Array, s: Float32Array): Float32Array {
    this.#sameLength('delta', delta)
    this.#sameLength('s', s)
    this.#expect(false, 'begin', 'end the round before it by commit or abort')
    this.#inRound = true
    const e = this.#error
    for (let i = 0; i < e.length; i++) s[i] = (delta[i] as number) + (e[i] as number)
    return this.#residual.fill(0)
  }

  /** The round's sum was accepted: its residuals become e. @throws SKEIN_CODEC_FEEDBACK outside a round */
  commit(): void {
    this.#expect(true, 'commit', 'call begin first')
    this.#inRound = false
    ;[this.#error, this.#residual] = [this.#residual, this.#error]
  }

  /** The round did not happen: e stays what it was. Does nothing outside a round. */
  abort(): void {
    this.#inRound = false
  }

  /** A copy of e, for a checkpoint. */
  snapshot(): Float32Array {
    return this.#error.slice()
  }

  /** Puts a snapshot back; a round under way is aborted. @throws SKEIN_CODEC_FEEDBACK for another length */
  restore(snapshot: Float32Array): void {
    this.#sameLength('snapshot', snapshot)
    this.#inRound = false
    this.#error.set(snapshot)
  }

  #sameLength(name: string, array: Float32Array): void {
    if (array.length === this.#error.length) return
    throw new SkeinError(CodecErrors.FEEDBACK, {
      what: `${name} has ${array.length} elements, the error that is fed back ${this.#error.length}`,
      why: 'another tensor, or a snapshot of another model',
      todo: 'keep one ErrorFeedback for each buffer that is reduced',
      details: { name, elems: array.length, errorElems: this.#error.length },
    })
  }

  #expect(inRound: boolean, call: string, todo: string): void {
    if (this.#inRound === inRound) return
    throw new SkeinError(CodecErrors.FEEDBACK, {
      what: `${call} was called ${this.#inRound ? 'in' : 'outside'} a round`,
      why: 'the residuals of two rounds would be mixed',
      todo,
    })
  }
}
