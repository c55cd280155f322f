import fs from 'node:fs'
import path from 'node:path'
import { mirroredPart } from '@skein/core'
import { describe, expect, test } from 'vitest'
import { decide } from './decide.ts'
import { whyWaiting } from './describe.ts'
import type { Effect } from './effects.ts'
import type { MembershipEvent } from './events.ts'
import { protocolVersion } from './joining.ts'
import { activeMembers, memberOfLink, partOfRank } from './members.ts'
import { defaultDeadlines, initialState, type MembershipState } from './state.ts'

/**
 * Runs test/protocol/*.txt. A block is commands (name key=value …), `----`, and what they must cause; blank lines part the
 * blocks, `#` begins a remark. In values `_` stands for a blank. `UPDATE_TRANSCRIPTS=1` rewrites what is expected: read the diff.
 */
const folder = path.resolve(import.meta.dirname, '../../../test/protocol')

class Machine {
  #state: MembershipState | undefined
  #nowMs = 0

  run(line: string): string[] {
    const [name = '', ...words] = line.split(/\s+/)
    const args = new Map(words.map(word => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]))
    const text = (key: string, otherwise: string) => (args.get(key) ?? otherwise).replaceAll('_', ' ')
    const number = (key: string, otherwise: number) => Number(args.get(key) ?? otherwise)
    if (name === 'run') {
      const config = {
        runId: 'r1',
        runDir: '/runs/r1',
        job: {},
        parts: number('parts', 1),
        replicas: args.get('replicas')?.split(',').map(Number),
        numWorkers: number('workers', 2),
        minWorkers: number('min', 1),
        maxWorkers: number('max', 4),
        globalBatch: number('batch', 8),
        shares: text('shares', 'equal') as 'equal' | 'measured',
        totalSteps: number('steps', 2),
        mirrorEvery: number('mirror', 0),
        laneSecret: 'secret',
        deadlines: defaultDeadlines,
      }
      this.#state = initialState(config, this.#nowMs)
      return [whyWaiting(this.#state)]
    }
    const before = this.#state
    if (before === undefined) throw new Error('a transcript begins with the command run')
    if (name === 'after') {
      this.#nowMs += number('ms', 0)
      return this.#apply({ type: 'tick', seen: seenOf(text('ops', ''), text('still', ''), text('waits', '')) })
    }
    const link = text('link', '')
    const step = number('step', before.committed.step + 1)
    const generation = number('generation', before.generation)
    switch (name) {
      case 'members': {
        // All join over links a, b, … and are ready: the shared beginning of many stories.
        const names = text('names', '').split(',')
        const linkOf = (i: number) => String.fromCharCode(97 + i)
        for (const [i, worker] of names.entries()) {
          this.run(`join link=${linkOf(i)} worker=${worker}`)
          this.run(`loaded link=${linkOf(i)}`)
        }
        for (const i of names.keys()) this.run(`ready link=${linkOf(i)}`)
        const now = this.#state as MembershipState
        return [`${now.phase}: ${now.members.map(m => `${m.workerId} is rank ${m.rank} on ${m.link}`).join(', ')}`]
      }
      case 'recover':
        return this.#apply({
          type: 'recovered',
          generation: number('generation', 1),
          step,
          digests: args.get('digest')?.split(','),
          samplesTo: args.has('samplesTo') ? number('samplesTo', 0) : undefined,
          checkpoint: args.has('checkpoint')
            ? { step: number('checkpointStep', step), path: text('checkpoint', '') }
            : undefined,
          members: text('members', '')
            .split(',')
            .filter(workerId => workerId !== '')
            .map(entry => {
              const [workerId = '', share = '0'] = entry.split(':')
              return { workerId, incarnation: `${workerId}-first`, share: Number(share) }
            }),
          untrainedLoss: undefined,
        })
      case 'join':
        return this.#apply({
          type: 'joined',
          link,
          workerId: text('worker', 'w1'),
          incarnation: text('incarnation', `${args.get('worker')}-first`),
          protocol: number('protocol', protocolVersion),
          lane: { host: 'h', port: number('port', 1) },
          pid: number('pid', 100),
          device: { backend: 'cpu', version: '1', threads: 1 },
          holds: heldOf(text('holds', '')),
          keeps: keptOf(text('keeps', '')),
        })
      case 'loaded': {
        const report = { dataFingerprint: text('data', 'f'), numParams: number('params', 10) }
        return this.#apply({ type: 'loaded', link, ...report })
      }
      case 'caught-up':
        return this.#apply({
          type: 'caughtUp',
          link,
          generation,
          holds: heldOf(text('holds', '')),
        })
      case 'catch-up-failed':
        return this.#apply({ type: 'catchUpFailed', link, generation, error: errorOf(args) })
      case 'ready':
        return this.#apply({
          type: 'ready',
          link,
          generation,
          digest: text('digest', digestOf(before, link, before.startStep)),
        })
      case 'vote': {
        const { globalBatch } = before.config
        const [from = 0, to = 0] = rangeOf(text('samples', `${(step - 1) * globalBatch}:${step * globalBatch}`))
        const { rank = 0, share } = memberOfLink(before, link) ?? { share: 0 }
        const { parts } = before.config
        const ahead = activeMembers(before)
          .filter(other => partOfRank(before, other.rank) === 0)
          .reduce((sum, other) => sum + ((other.rank ?? 0) <= rank - parts ? other.share : 0), 0)
        const [tookFrom = 0, tookTo = 0] = rangeOf(text('took', `${from + ahead}:${from + ahead + share}`))
        const vote = {
          generation,
          step,
          digest: text('digest', digestOf(before, link, step)),
          loss: number('loss', 2),
          samples: [from, to] as const,
          took: [tookFrom, tookTo] as const,
          tokens: 64,
          stepMs: number('stepMs', 10),
          computeMs: 8,
          commMs: 3,
          waitMs: 1,
          bytesSent: number('bytesSent', 100),
          rssBytes: 1000,
          liveTensors: 5,
        }
        return this.#apply({ type: 'voted', link, vote })
      }
      case 'evaluated': {
        const phase = text('phase', 'during') as 'untrained' | 'during' | 'final'
        return this.#apply({ type: 'evaluated', link, generation, step, loss: number('loss', 2), phase })
      }
      case 'mirrored': {
        const { parts } = before.config
        const own = partOfRank(before, memberOfLink(before, link)?.rank)
        const digests = [`d${step}.${own}`, text('neighbours', `d${step}.${mirroredPart(own, parts)}`)] as const
        return this.#apply({ type: 'mirrored', link, generation, step, digests })
      }
      case 'checkpoint-part':
        return this.#apply({ type: 'checkpointPart', link, generation, step })
      case 'checkpointed':
        return this.#apply({ type: 'checkpointed', link, generation, step, path: text('path', `/c/${step}`) })
      case 'checkpoint-failed':
        return this.#apply({ type: 'checkpointFailed', link, generation, step, error: errorOf(args) })
      case 'finished':
        return this.#apply({
          type: 'finished',
          link,
          generation,
          step,
          peakRssBytes: number('rss', 2000),
          ...(args.has('sample') ? { sampleText: text('sample', '') } : {}),
          ...(args.has('baseline') ? { baselineLoss: number('baseline', 0) } : {}),
        })
      case 'fail':
        return this.#apply({ type: 'failed', link, error: errorOf(args) })
      case 'peer-lost':
        return this.#apply({ type: 'peerLost', link, generation, peerRank: number('peer', 0), error: errorOf(args) })
      case 'link-stuck': {
        const links = text('links', '0-1')
          .split(',')
          .map(pair => ({ from: Number(pair[0]), to: Number(pair[2]) }))
        return this.#apply({ type: 'linkStuck', generation, links, forMs: number('forMs', 10_000) })
      }
      case 'leave':
        return this.#apply({ type: 'left', link, reason: text('reason', 'told to') })
      case 'lost':
        return this.#apply({
          type: 'linkLost',
          link,
          reason: text('reason', 'connection reset'),
          isSilent: args.get('silent') === 'yes',
        })
      case 'measured': {
        const speeds = text('speeds', '')
          .split(',')
          .map(entry => ({ workerId: entry.split(':')[0] ?? '', samplesPerSecond: Number(entry.split(':')[1]) }))
        return this.#apply({ type: 'measured', speeds })
      }
      case 'steps': {
        // All members make so many steps of so many ms: the long way to where a story begins.
        const links = activeMembers(before).map(member => member.link)
        for (let i = 0; i < number('count', 1); i++) {
          this.#nowMs += number('ms', 0)
          for (const one of links) this.run(`vote link=${one}`)
        }
        const now = this.#state as MembershipState
        return [`step ${now.committed.step} is committed`]
      }
      case 'stop':
        return this.#apply({ type: 'stopRequested', reason: text('reason', 'interrupted') })
      default:
        throw new Error(`no such command: ${name}`)
    }
  }

  #apply(event: MembershipEvent): string[] {
    const before = this.#state as MembershipState
    const decision = decide(before, event, this.#nowMs)
    this.#state = decision.state
    const phase = decision.state.phase === before.phase ? [] : [`  ${before.phase} -> ${decision.state.phase}`]
    return [
      `because ${decision.reason}`,
      ...phase,
      ...decision.effects.map(effect => `  ${formatEffect(effect)}`),
      `  now ${whyWaiting(decision.state)}`,
    ]
  }
}

/**
 * "w1:7,w2:5" collectives entered, "w2:50000" ms without a move (for ever, where nothing is said), "w1:w2" w1 waits for w2 ("w1:" for someone);
 * whoever is not named is not seen.
 */
function seenOf(ops: string, still: string, waits: string) {
  const entriesOf = (entries: string) =>
    entries
      .split(',')
      .filter(entry => entry !== '')
      .map(entry => [entry.split(':')[0] ?? '', entry.split(':')[1] ?? ''] as const)
  const stillOf = new Map(entriesOf(still))
  const waitsOf = new Map(entriesOf(waits).map(([id, peer]) => [id, peer === '' ? [] : [peer]]))
  return Object.fromEntries(
    entriesOf(ops).map(([id, opsEntered]) => {
      const stillMs = Number(stillOf.get(id) ?? 1e9)
      return [id, { opsEntered: Number(opsEntered), stillMs, waitsFor: waitsOf.get(id) }]
    }),
  )
}

/** "8:16" */
const rangeOf = (text: string) => text.split(':').map(Number)

/** Whoever is asked, the part of a model that is cut has a digest of its own. */
function digestOf(state: MembershipState, link: string, step: number): string {
  const part = partOfRank(state, memberOfLink(state, link)?.rank)
  return state.config.parts === 1 ? `d${step}` : `d${step}.${part}`
}

/** "5:d5,4:d4", the newest first; "5:d5.1:1" of part 1. */
const heldOf = (text: string) =>
  text
    .split(',')
    .filter(entry => entry !== '')
    .map(entry => {
      const [step = '', digest = '', part = '0'] = entry.split(':')
      return { part: Number(part), step: Number(step), digest }
    })

/** "5:1:d5.1:d5.0": of step 5 part 1 as its own, and its neighbour's. */
const keptOf = (text: string) =>
  text
    .split(',')
    .filter(entry => entry !== '')
    .map(entry => {
      const [step = '', part = '', own = '', neighbours = ''] = entry.split(':')
      return { step: Number(step), part: Number(part), digests: [own, neighbours] as const }
    })

const errorOf = (args: ReadonlyMap<string, string>) => ({
  code: args.get('code') ?? 'SKEIN_X',
  retry: 'never' as const,
  what: (args.get('what') ?? 'it_broke').replaceAll('_', ' '),
  todo: (args.get('todo') ?? 'mend_it').replaceAll('_', ' '),
  details: {},
})

function formatEffect(effect: Effect): string {
  switch (effect.type) {
    case 'append': {
      const { type, ...rest } = effect.record
      return `append ${type} ${formatFields(rest)}`
    }
    case 'emit': {
      const { event, ...rest } = effect.event
      return `emit ${event} ${formatFields(rest)}`
    }
    case 'send': {
      const { type, ...rest } = effect.message
      return `send ${effect.link}: ${type} ${formatFields(rest)}`
    }
    case 'broadcast': {
      const { type, ...rest } = effect.message
      return `send ${effect.links.join(' ')}: ${type} ${formatFields(rest)}`
    }
    case 'close':
      return `close ${effect.link}: ${effect.reason}`
  }
}

const formatFields = (fields: object): string =>
  Object.entries(fields)
    .map(([key, value]) => {
      // A model of one part is one that is not cut.
      const isWhole = 'parts' in fields && fields.parts === 1
      if (isWhole && (key === 'parts' || key === 'part')) return ''
      if (key === 'error') return `${value.code} "${value.what}${value.why === undefined ? '' : ` (${value.why})`}"`
      if (['device', 'job', 'details', 'what', 'why'].includes(key)) return ''
      if (key === 'members') {
        const members = value as { workerId: string; share?: number }[]
        return `members=${members.map(m => `${m.workerId}${m.share === undefined ? '' : `:${m.share}`}`).join(',')}`
      }
      return `${key}=${typeof value === 'string' && !value.includes(' ') ? value : JSON.stringify(value)}`
    })
    .filter(field => field !== '')
    .join(' ')

/** The transcript with the output that the machine really gives. */
function replay(source: string): string {
  const machine = new Machine()
  const blocks = source.trimEnd().split(/\n{2,}/)
  return `${blocks
    .map(block => {
      const lines = block.split('\n')
      const end = lines.indexOf('----')
      const head = end < 0 ? lines : lines.slice(0, end)
      const commands = head.filter(line => !line.startsWith('#'))
      if (commands.length === 0) return block
      return [...head, '----', ...commands.flatMap(line => machine.run(line))].join('\n')
    })
    .join('\n\n')}\n`
}

describe('transcripts', () => {
  const files = fs.readdirSync(folder).filter(name => name.endsWith('.txt'))

  test('there are some', () => {
    expect(files.length).toBeGreaterThan(5)
  })

  test.each(files)('%s', name => {
    const file = path.join(folder, name)
    const source = fs.readFileSync(file, 'utf8')
    const actual = replay(source)
    if (process.env['UPDATE_TRANSCRIPTS'] === '1') fs.writeFileSync(file, actual)
    expect(actual).toBe(process.env['UPDATE_TRANSCRIPTS'] === '1' ? actual : source)
  })
})
