import { type Deferred, deferred, partOf, replicaOf, sleep, within } from '@skein/core'
import { type ControlLink, dialControl } from '@skein/transport'
import { type CoordinatorMessage, protocolVersion, type WorkerMessage } from '@skein/wire'

type Said<T extends CoordinatorMessage['type']> = Extract<CoordinatorMessage, { type: T }>

export const batch = 8

/** 16 hex digits that stand for the parameters of a part of the model after a step. */
export const digestAfter = (step: number, part = 0): string =>
  (part * 2 ** 40 + step * 0x9e37 + 1).toString(16).padStart(16, '0')

/** A light worker without TensorFlow: speaks the real control protocol over a real socket. */
export class FakeWorker {
  readonly workerId: string
  readonly #link: ControlLink
  /** Samples of a step, of all together. */
  readonly #batch: number
  readonly #heard: CoordinatorMessage[] = []
  #news: Deferred<void> = deferred()
  #end: string | undefined
  /** How the link ended. */
  readonly closed: Promise<string>

  constructor(link: ControlLink, workerId: string, { globalBatch = batch, catchesUp = false } = {}) {
    this.#link = link
    this.#batch = globalBatch
    this.workerId = workerId
    this.closed = link.closed.then(({ code, what }) => {
      this.#end = `${code}: ${what}`
      return this.#end
    })
    link.onMessage(message => {
      this.#heard.push(message)
      if (message.type === 'catch-up' && catchesUp)
        void this.send({ type: 'caught-up', generation: message.generation, holds: [] })
      const news = this.#news
      this.#news = deferred()
      news.resolve()
    })
  }

  /** Dials, joins, and says that it has model and data. */
  static async join(options: {
    readonly url: string
    readonly token: string
    readonly workerId: string
    readonly incarnation?: string
    readonly holds?: Extract<WorkerMessage, { type: 'join' }>['holds']
    readonly dataFingerprint?: string
    readonly globalBatch?: number
    /** Says that it is near as soon as it is told where the state is to be had. */
    readonly catchesUp?: boolean
  }): Promise<FakeWorker> {
    const { url, token, workerId, incarnation = `${workerId}-first`, holds = [], dataFingerprint = 'text' } = options
    const { globalBatch = batch, catchesUp = false } = options
    const link = await dialControl({ url, token, timeoutMs: 5000 })
    const worker = new FakeWorker(link, workerId, { globalBatch, catchesUp })
    await worker.send({
      type: 'join',
      workerId,
      incarnation,
      protocol: protocolVersion,
      lane: { host: '127.0.0.1', port: 1 },
      pid: process.pid,
      device: { backend: 'none', version: '1', threads: 1 },
      holds,
      keeps: [],
    })
    await worker.send({ type: 'loaded', dataFingerprint, numParams: 10 })
    return worker
  }

  send(message: WorkerMessage): Promise<void> {
    return this.#link.send(message)
  }

  /** The first message of this type that fits, already here or yet to come; rejects when the link ends without it. */
  hears<T extends CoordinatorMessage['type']>(
    type: T,
    fits: (message: Said<T>) => boolean = () => true,
  ): Promise<Said<T>> {
    return within(this.#waits(type, fits), { what: `"${type}" at ${this.workerId}`, timeoutMs: 10_000 })
  }

  async #waits<T extends CoordinatorMessage['type']>(
    type: T,
    fits: (message: Said<T>) => boolean = () => true,
  ): Promise<Said<T>> {
    for (;;) {
      const found = this.#heard.find((message): message is Said<T> => message.type === type && fits(message as Said<T>))
      if (found !== undefined) return found
      if (this.#end !== undefined) throw new Error(`${this.workerId} waits for "${type}", but ${this.#end}`)
      await Promise.race([this.#news.promise, this.closed])
    }
  }

  /** Everything heard so far, of one type. */
  all<T extends CoordinatorMessage['type']>(type: T): Said<T>[] {
    return this.#heard.filter((message): message is Said<T> => message.type === type)
  }

  /** The newest generation that it is in. */
  async generation(newerThan = 0): Promise<Said<'generation'>> {
    await this.hears('generation', message => message.generation > newerThan)
    return this.all('generation').at(-1) as Said<'generation'>
  }

  /** Waits for the generation and reports ready. Returns its rank. */
  async prepare(facts: Partial<Extract<WorkerMessage, { type: 'ready' }>> = {}): Promise<number> {
    const { generation, parts, members, startStep } = await this.generation()
    const rank = members.find(member => member.workerId === this.workerId)?.rank ?? -1
    await this.send({ type: 'ready', generation, digest: digestAfter(startStep, partOf(rank, parts)), ...facts })
    return rank
  }

  async vote(step: number, facts: Partial<Extract<WorkerMessage, { type: 'vote' }>> = {}): Promise<void> {
    const { generation, parts, members } = await this.generation()
    const rank = members.find(member => member.workerId === this.workerId)?.rank ?? 0
    const changed = this.all('shares').findLast(one => one.generation === generation && one.fromStep <= step)
    const replica = replicaOf(rank, parts)
    const shares = (changed?.shares ?? members.map(({ share }) => share)).filter((_, of) => partOf(of, parts) === 0)
    const from = shares.slice(0, replica).reduce((sum, share) => sum + share, 0)
    const to = from + (shares[replica] ?? 0)
    await this.send({
      type: 'vote',
      generation,
      step,
      digest: digestAfter(step, partOf(rank, parts)),
      loss: 5 / step,
      samples: [(step - 1) * this.#batch, step * this.#batch],
      took: [(step - 1) * this.#batch + from, (step - 1) * this.#batch + to],
      tokens: 64,
      stepMs: 10,
      // As long for each sample as every other worker.
      computeMs: (8 * (to - from)) / Math.ceil((this.#batch * parts) / members.length),
      commMs: 4,
      waitMs: 1,
      bytesSent: 100,
      rssBytes: 1000,
      liveTensors: 3,
      ...facts,
    })
  }

  /** The commit of a step, in whichever generation it comes. */
  committed(step: number): Promise<Said<'commit'>> {
    return this.hears('commit', message => message.step === step)
  }

  /**
   * The whole life of a worker after its join, as the real one leads it; ends when the coordinator says so. `stepMs` is how long it computes at
   * each step.
   */
  async train(totalSteps: number, { stepMs = 0 } = {}): Promise<void> {
    const finished = this.#waits('finish').then(() => undefined)
    finished.catch(() => undefined)
    for (let last = 0; ; ) {
      const next = await Promise.race([finished, this.#waits('generation', message => message.generation > last)])
      if (next === undefined) break
      last = next.generation
      // Over before its time: the next generation comes, or the end.
      await Promise.race([this.#trainIn(next, totalSteps, stepMs), this.#over(next.generation)])
    }
    await this.close()
  }

  async #over(generation: number): Promise<void> {
    await Promise.race([
      this.#waits('abort', message => message.generation === generation),
      this.#waits('generation', message => message.generation > generation),
      this.#waits('finish'),
    ])
  }

  async #trainIn({ generation, startStep }: Said<'generation'>, totalSteps: number, stepMs: number): Promise<void> {
    const rank = await this.prepare()
    const isHere = (message: { readonly generation: number }) => message.generation === generation
    await this.hears('start', isHere)
    let step = startStep
    const last = () =>
      Math.min(
        totalSteps,
        this.all('stop').find(isHere)?.afterStep ?? totalSteps,
        this.all('regroup').find(isHere)?.afterStep ?? totalSteps,
      )
    const committed = () => this.hears('commit', message => isHere(message) && message.step === step)
    if (rank === 0 && step === 0)
      await this.send({ type: 'evaluated', generation, step, loss: 5.5, phase: 'untrained' })
    while (step < last()) {
      if (step > startStep) await committed()
      if (step >= last()) break
      step++
      if (stepMs > 0) await sleep(stepMs)
      await this.vote(step)
    }
    if (step > startStep) await committed()
    if (this.all('regroup').some(isHere)) return
    if (rank === 0) {
      await this.send({ type: 'evaluated', generation, step, loss: 1.5, phase: 'final' })
      await this.send({ type: 'checkpointed', generation, step, path: `/checkpoints/step-${step}` })
    }
    await this.send({
      type: 'finished',
      generation,
      step,
      peakRssBytes: 2000,
      ...(rank === 0 ? { sampleText: 'Once upon', baselineLoss: 2.5 } : {}),
    })
  }

  async close(): Promise<void> {
    await this.#link.close()
  }
}
