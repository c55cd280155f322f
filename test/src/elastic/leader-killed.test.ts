import path from 'node:path'
import { readEtcdHistory } from '@skein/coordinator'
import { startEtcd, temporaryFolder } from '@skein/testkit'
import { afterAll, describe, expect, it } from 'vitest'
import { runSkein, type RunEvent, type SkeinRun, startSkein, stepsOf } from '../skein-process.ts'
import { constantRateJob } from './constant-rate-job.ts'
import { isStep, token } from './start-cluster.ts'

const etcd = await startEtcd()
afterAll(() => etcd?.[Symbol.asyncDispose]())

const ttlMs = 2_000
/** Joining again, forming a generation and a step, beside whatever else this machine does. */
const slackMs = 8_000

const start = (args: readonly string[]) => startSkein([...args, '--json'], 120_000, { SKEIN_TOKEN: token })

/** A coordinator whose events are followed as soon as it leads. */
class Contender {
  readonly run: SkeinRun
  readonly port: number

  constructor(job: string, runDir: string, port: number) {
    this.port = port
    const args = ['--job', job, '--workers', '2', '--steps', '100000', '--run-dir', runDir, '--port', String(port)]
    const store = ['--store', 'etcd', '--etcd', etcd?.url ?? '', '--etcd-ttl', String(ttlMs / 1000)]
    this.run = start(['coordinator', ...args, ...store])
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  async leads(): Promise<void> {
    await this.run.until(event => event.event === 'listening', 'leader')
    void follow(`${this.url}/events`, event => this.run.add(event))
  }

  async standsBy(): Promise<void> {
    await this.run.until(event => event.event === 'standby', 'standby')
    const health = await fetch(`${this.url}/healthz`)
    expect(await health.json()).toMatchObject({ ok: true, phase: 'standby' })
    expect((await fetch(`${this.url}/status`, { headers: { authorization: `Bearer ${token}` } })).status).toBe(421)
  }
}

describe.skipIf(etcd === undefined)('two coordinators on one etcd', () => {
  it('the leader is killed, the next one is stopped and woken, the third is told to end: the run goes on, no step is lost or made twice', async () => {
    using folder = temporaryFolder('leader')
    const job = constantRateJob(folder.path)
    const runDir = path.join(folder.path, `run-${process.pid}`)
    const ports = [17_951, 17_952, 17_953].map(port => port + (process.pid % 500) * 3)
    const contender = (i: number) => new Contender(job, runDir, ports[i] ?? 0)
    const processes: SkeinRun[] = []
    const own = <T extends Contender>(started: T): T => {
      processes.push(started.run)
      return started
    }
    try {
      const first = own(contender(0))
      await first.leads()
      const second = own(contender(1))
      await second.standsBy()
      const join = ports.map(port => `http://127.0.0.1:${port}`).join(',')
      const workers = ['w0', 'w1'].map(name =>
        start(['worker', '--join', join, '--id', name, '--threads', '1', '--log-dir', runDir]),
      )
      processes.push(...workers)
      await first.run.until(event => isStep(event) && Number(event['step']) >= 5, 'step 5')

      const killedMs = performance.now()
      first.run.process.kill('SIGKILL')
      await second.leads()
      await second.run.until(isStep, 'step of the second leader')
      expect(performance.now() - killedMs).toBeLessThan(ttlMs + slackMs)
      const told = stepsOf(first.run.events).at(-1)?.step ?? 0
      const next = stepsOf(second.run.events)[0]?.step ?? 0
      expect(next).toBeGreaterThan(told)

      const third = own(contender(2))
      await third.standsBy()
      second.run.process.kill('SIGSTOP')
      await third.leads()
      await third.run.until(event => isStep(event), 'step of the third leader')
      second.run.process.kill('SIGCONT')
      expect((await second.run.ended).code, 'it finds that it leads no more').toBe(1)
      expect(second.run.events.at(-1)).toMatchObject({ event: 'error', code: 'SKEIN_COORDINATOR_LEADERSHIP_LOST' })

      const fourth = own(contender(0))
      await fourth.standsBy()
      third.run.process.kill('SIGTERM')
      await fourth.leads()
      await fourth.run.until(event => isStep(event), 'step of the fourth leader')
      expect((await third.run.ended).code, 'it ends as it was told').toBe(143)
      expect(third.run.events.filter(event => event.event === 'stopping' || event.event === 'done')).toEqual([])
      expect(third.run.events.at(-1)).toMatchObject({ event: 'error', code: 'SKEIN_COORDINATOR_RESIGNED' })

      const fifth = own(contender(1))
      await fifth.standsBy()
      await fetch(`${fourth.url}/stop`, { method: 'POST', headers: { authorization: `Bearer ${token}` } })
      const done = await fourth.run.until(event => event.event === 'done', 'end')
      for (const { ended } of [...workers, fourth.run]) expect((await ended).code).toBe(0)
      expect((await fifth.run.ended).code, 'whoever stood by ends with the run').toBe(0)

      const { commits } = await readEtcdHistory([etcd?.url ?? ''], path.basename(runDir))
      expect(commits.map(({ step }) => step)).toEqual(Array.from({ length: Number(done['steps']) }, (_, i) => i + 1))
      expect(commits.map(({ samplesTo }) => samplesTo)).toEqual(commits.map(({ step }) => 16 * step))
      const args = ['--steps', String(commits.length), '--run-dir', path.join(folder.path, 'whole'), '--json']
      const whole = stepsOf(await runSkein(['train', job, '--workers', '2', ...args]))
      expect(commits.map(({ digest }) => digest)).toEqual(whole.map(({ digest }) => digest))
    } finally {
      for (const one of processes) one.process.kill('SIGKILL')
      await Promise.all(processes.map(({ ended }) => ended))
    }
  })
})

/** The events of a run as they come, until its coordinator is gone. */
async function follow(url: string, onEvent: (event: RunEvent) => void): Promise<void> {
  try {
    const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } })
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk as Uint8Array, { stream: true })
      const lines = text.split('\n')
      text = lines.pop() ?? ''
      for (const line of lines) if (line !== '') onEvent(JSON.parse(line) as RunEvent)
    }
  } catch {
    // The coordinator was killed: its process tells more.
  }
}
