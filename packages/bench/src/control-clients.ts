/**
 * Light control clients in one process, answering on stdin/stdout: real links to a coordinator, without a device.
 *
 *   {"url", "token", "from", "count"}            joins them, answers {"joinedMs"} when all are welcome
 *   {"steps", "stepMs"}                          they train: each step takes stepMs, votes and commits are real; answers {"tookMs", "waitedMs"}
 */
import readline from 'node:readline'
import { type Deferred, deferred, sleep } from '@skein/core'
import { type ControlLink, dialControl } from '@skein/transport'
import { type CoordinatorMessage, protocolVersion } from '@skein/wire'

const inFlight = 64
const batch = 8

const digestAfter = (step: number): string => step.toString(16).padStart(16, '0')

class Client {
  readonly welcome = deferred<void>()
  readonly #link: ControlLink
  readonly #started = deferred<{ generation: number; step: number }>()
  readonly #commits = new Map<number, Deferred<void>>()
  readonly #workerId: string
  /** Its part of the batch, [from, to). */
  #share: readonly [number, number] = [0, 0]

  constructor(link: ControlLink, workerId: string) {
    this.#link = link
    this.#workerId = workerId
    link.onMessage(message => this.#hear(message))
    const lane = { host: '127.0.0.1', port: 1 }
    const device = { backend: 'none', version: '1', threads: 1 }
    const incarnation = `${workerId}-${process.pid}`
    void link.send({
      type: 'join',
      workerId,
      incarnation,
      protocol: protocolVersion,
      lane,
      pid: 1,
      device,
      holds: [],
      keeps: [],
    })
    void link.send({ type: 'loaded', dataFingerprint: 'none', numParams: 1 })
  }

  /** Steps as the real worker makes them: a step is computed while the vote of the one before is under way. */
  async train(steps: number, stepMs: number): Promise<number> {
    const { generation, step: first } = await this.#started.promise
    const [from, to] = this.#share
    let waitedMs = 0
    for (let step = first + 1; step <= first + steps; step++) {
      await sleep(stepMs)
      const before = performance.now()
      if (step - 1 > first) await this.#committed(step - 1).promise
      waitedMs += performance.now() - before
      void this.#link.send({
        type: 'vote',
        generation,
        step,
        digest: digestAfter(step),
        loss: 1,
        samples: [(step - 1) * batch, step * batch],
        took: [(step - 1) * batch + from, (step - 1) * batch + to],
        tokens: batch,
        stepMs,
        computeMs: stepMs,
        commMs: 0,
        waitMs: 0,
        bytesSent: 0,
        rssBytes: 1,
        liveTensors: 0,
      })
    }
    await this.#committed(first + steps).promise
    return waitedMs
  }

  #committed(step: number): Deferred<void> {
    const known = this.#commits.get(step) ?? deferred<void>()
    this.#commits.set(step, known)
    return known
  }

  #hear(message: CoordinatorMessage): void {
    if (message.type === 'welcome') this.welcome.resolve()
    if (message.type === 'start') this.#started.resolve(message)
    if (message.type === 'commit') this.#committed(message.step).resolve()
    if (message.type !== 'generation') return
    const { generation, startStep, members } = message
    const rank = members.findIndex(member => member.workerId === this.#workerId)
    const from = members.slice(0, rank).reduce((sum, { share }) => sum + share, 0)
    this.#share = [from, from + (members[rank]?.share ?? 0)]
    void this.#link.send({ type: 'ready', generation, digest: digestAfter(startStep) })
  }
}

const clients: Client[] = []
const answer = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`)
answer({ ready: true })
for await (const line of readline.createInterface({ input: process.stdin })) {
  if (line === 'quit') break
  const asked = JSON.parse(line) as {
    readonly url: string
    readonly token: string
    readonly from: number
    readonly count?: number
    readonly steps: number
    readonly stepMs: number
  }
  const started = performance.now()
  if (asked.count === undefined) {
    const waits = await Promise.all(clients.map(client => client.train(asked.steps, asked.stepMs)))
    answer({ tookMs: performance.now() - started, waitedMs: Math.max(...waits) })
    continue
  }
  let next = asked.from
  const end = asked.from + asked.count
  const some = async () => {
    while (next < end) {
      const workerId = `c${next++}`
      const client = new Client(await dialControl({ url: asked.url, token: asked.token, timeoutMs: 20_000 }), workerId)
      clients.push(client)
      await client.welcome.promise
    }
  }
  await Promise.all(Array.from({ length: inFlight }, some))
  answer({ joinedMs: performance.now() - started })
}
process.exit(0)
