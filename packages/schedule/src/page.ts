import { unitCosts, workOf } from './costs.ts'
import { drawSchedule } from './draw.ts'
import { families, familyOf, generateSchedule } from './families.ts'
import { type Family, sizesOf } from './family.ts'
import { offloadActivations } from './pipe-offload.ts'
import { withFill } from './fill.ts'
import { withPostValidation } from './post-validation.ts'
import { recompute } from './recompute.ts'
import type { ComputeOp, Schedule } from './schedule.ts'
import { simulate } from './simulate.ts'
import { leastSlots } from './slots.ts'
import { steadyPeriod, steadyPeriodOf } from './steady.ts'
import { messagesBetween } from './traffic.ts'
import { withWeightGradsLast } from './two-bp.ts'
import { vocabularyDepth, withVocabularyShards } from './vocabulary-shards.ts'
import { shardWeights } from './weights.ts'

const ranks = 4
const microbatches = 8

/**
 * docs/schedules.md: every schedule with its paper's figures beside what the simulator finds, what the bench measured of it, if it has
 * been run (by name, the time of an executed step over the simulated one), and its picture.
 */
export function schedulesPage(measured: ReadonlyMap<string, number> = new Map()): string {
  return [
    '# Schedules',
    '',
    'Made by `packages/schedule/src/page.ts` from the rules themselves; `UPDATE_DOCS=1 npx vitest run packages/schedule/dist/page.test.js` writes it again.',
    '',
    `All figures for ${ranks} ranks and ${microbatches} microbatches, every pass one unit, messages free. T is the work of a microbatch on a rank (3 units), p the ranks,`,
    'm the microbatches, v the stages of a rank. **Extra** is the time of a step beyond m·T, once simulated with a barrier at its end and once among many steps without one;',
    '**idle** the part of all devices’ time. **Held** are activations, in microbatches on the stages of one rank. **Messages** are activations and gradients of all ranks. **=** where a closed form is held against',
    'the simulator for 1 to 8 ranks, 1 to 32 microbatches and random costs, and equals it; **–** where there is none for these sizes. **Executed** is the time of a step run by processes over',
    'sockets, with stages that take 20 ms a pass and messages of 128 KiB, over the time simulated with messages free (`npm run bench -- pipeline`); – where it was not run.',
    '',
    '| schedule | v | bubble, paper | extra | steady extra | idle | held, paper | held by rank | messages | executed |',
    '|---|---|---|---|---|---|---|---|---|---|',
    ...families.map(family => row(family, measured.get(family.name))),
    '',
    ...changesTable(),
    '',
    ...hopsTable(),
    '',
    ...families.flatMap(section),
  ].join('\n')
}

function row(family: Family, ratio: number | undefined): string {
  const sizes = sizesOf(family, { ranks, microbatches })
  const schedule = family.generate(sizes)
  const { makespan, syncBubble, peakActivations } = simulate(schedule, unitCosts)
  const work = microbatches * workOf(unitCosts)
  const { forms, paperSays } = family
  const steady = steadyPeriodOf(family, sizes, unitCosts) - work
  const hasPeak = forms.peak?.(sizes, 0) ?? forms.mostHeld?.(sizes)
  const sent = messagesBetween(schedule)
    .flat()
    .reduce((sum, count) => sum + count, 0)
  const cells = [
    `[${family.title}](#${family.name}) \`${family.name}\``,
    schedule.stages / ranks,
    paperSays.bubble,
    `${figure(makespan - work)} ${mark(forms.extra?.(sizes, unitCosts))}`,
    `${figure(steady)} ${mark(forms.steadyExtra?.(sizes, unitCosts))}`,
    `${(100 * syncBubble).toFixed(1)} %`,
    paperSays.peak,
    `${peakActivations.map(figure).join(' ')} ${mark(hasPeak)}`,
    `${sent} ${mark(forms.messages(sizes))}`,
    ratio === undefined ? '–' : ratio.toFixed(3),
  ]
  return `| ${cells.join(' | ')} |`
}

/** What each change makes of a schedule it is known for. */
function changesTable(): string[] {
  const costs = { ...unitCosts, copy: 1 }
  const of = (name: string) => generateSchedule(name, { ranks, microbatches })
  const cells = (title: string, schedule: Schedule) => {
    const { makespan, peakActivations } = simulate(schedule, costs)
    const most = Math.max(...peakActivations)
    return `| ${title} | ${figure(makespan)} | ${figure(steadyPeriod(schedule, costs))} | ${figure(most)} | ${gathersOf(schedule)} |`
  }
  const firstHalf = { which: ({ stage }: ComputeOp) => stage < ranks }
  return [
    '**What changes a schedule**: any of these on any of the above. A copy of what a microbatch needs on a rank takes one unit each way.',
    '',
    '| | time | steady time | held at most | gathers by rank |',
    '|---|---|---|---|---|',
    cells('GPipe', of('gpipe')),
    cells('GPipe that recomputes (Chen et al. 2016)', recompute(of('gpipe'))),
    cells('1F1B', of('1f1b')),
    cells('1F1B that recomputes on its first stage alone', recompute(of('1f1b'), new Set([0]))),
    cells('1F1B with activations on the host (PipeOffload)', offloadActivations(of('1f1b'), costs)),
    cells('1F1B with weight gradients last (2BP)', withWeightGradsLast(of('1f1b'))),
    cells('V-Half', of('v-half')),
    cells('V-Half with the first half of the stages on the host', offloadActivations(of('v-half'), costs, firstHalf)),
    cells('ZB-H2', of('zb-h2')),
    cells('ZB-H2 with updates validated afterwards', withPostValidation(of('zb-h2'))),
    cells('Breadth-first over sharded weights', shardWeights(of('breadth-first'))),
    cells('Interleaved over sharded weights', shardWeights(of('interleaved'))),
    '',
    ...vocabularyTable(),
    '',
    ...fillTable(),
  ]
}

/** What idle time takes of frozen layers (Tian et al. 2024), and what is too much. */
function fillTable(): string[] {
  const rows = ['gpipe', '1f1b', 'interleaved', 'zb-h1', 'zb-v'].map(name => {
    const schedule = generateSchedule(name, { ranks, microbatches })
    const { makespan, busy } = simulate(schedule, unitCosts)
    const idle = busy.reduce((sum, time) => sum + makespan - time, 0)
    const times = [1, 2, 4, 6].map(time => {
      const costs = { ...unitCosts, frozen: [time / 2, time / 2] }
      return figure(simulate(withFill(schedule, costs, 2), costs).makespan)
    })
    return `| ${[familyOf(name).title, figure(makespan), figure(idle), ...times].join(' | ')} |`
  })
  const frozen = { ...unitCosts, frozen: [2, 2] }
  const filled = withFill(generateSchedule('1f1b', { ranks, microbatches }), frozen, 2)
  const sent = (schedule: Schedule) =>
    messagesBetween(schedule)
      .flat()
      .reduce((sum, count) => sum + count, 0)
  return [
    '**Filled with frozen layers** (`withFill`, after DiffusionPipe): two layers of an encoder on the next step’s samples, a microbatch in two pieces, that take so many units a microbatch in all. Nothing',
    'else starts later; what no gap holds goes to the end, spread over the ranks. 1F1B takes p(p-1)T.',
    '',
    '| | time | idle, all ranks | filled with 1 | 2 | 4 | 6 |',
    '|---|---|---|---|---|---|---|',
    ...rows,
    '',
    `Each piece that was made elsewhere goes to the first stage's rank: ${sent(filled)} messages instead of ${sent(generateSchedule('1f1b', { ranks, microbatches }))}.`,
    '',
    '```',
    drawSchedule(filled, { costs: frozen }),
    '```',
  ]
}

/** Rules that go on as they were, and one that waits more. */
const shardable = ['gpipe', '1f1b', 'interleaved', 'breadth-first', 'zb-h1', 'zb-v']

/** What becomes of a schedule whose vocabulary is dealt out over its ranks (Yeung et al. 2024). */
function vocabularyTable(): string[] {
  const rows = shardable.map(name => {
    const schedule = generateSchedule(name, { ranks, microbatches })
    const sharded = withVocabularyShards(schedule)
    const extra = (one: Schedule, work: number) => figure(simulate(one, unitCosts).makespan - microbatches * work)
    const held = (one: Schedule) => simulate(one, unitCosts).peakActivations.map(figure).join(' ')
    const cells = [familyOf(name).title, extra(schedule, workOf(unitCosts)), extra(sharded, workOf(unitCosts) + 2)]
    return `| ${[...cells, held(schedule), held(sharded), vocabularyDepth(sharded)].join(' | ')} |`
  })
  return [
    '**With a sharded vocabulary**: logits (S) and their gradients (T) are passes of one unit on every rank, the look-up takes nothing. Extra is the time of a step beyond the work of a rank, 5 units a',
    'microbatch instead of 3; exchanges hold as many microbatches as they must for no rank to wait for another for good.',
    '',
    '| | extra | extra, sharded | held by rank | held, sharded | exchanges hold |',
    '|---|---|---|---|---|---|',
    ...rows,
    '',
    '```',
    drawSchedule(withVocabularyShards(generateSchedule('1f1b', { ranks, microbatches }))),
    '```',
  ]
}

function gathersOf(schedule: Schedule): string {
  const counts = schedule.ops.map(list => list.filter(({ op }) => op === 'gather').length)
  return Math.max(...counts) === 0 ? '–' : counts.join(' ')
}

const hops = [0, 0.1, 0.25, 0.5, 1]

/** Slack, which papers for fast links have no use for, is what counts over sockets. */
function hopsTable(): string[] {
  const larger = { ranks: 8, microbatches: 32 }
  const rows = families.map(family => {
    const schedule = family.generate(sizesOf(family, larger))
    const idle = hops.map(hop => (100 * simulate(schedule, { ...unitCosts, hop }).syncBubble).toFixed(0))
    return `| ${family.title} | ${idle.join(' | ')} | ${leastSlots(schedule)} |`
  })
  return [
    `**Over slow links**: idle per cent of ${larger.ranks} ranks with ${larger.microbatches} microbatches when a hop takes so many forwards, by lists made for hops that take none;`,
    'and how many messages a link must hold before sends that block would deadlock (0: a rendezvous will do).',
    '',
    `| | ${hops.join(' | ')} | slots |`,
    `|---|${hops.map(() => '---|').join('')}---|`,
    ...rows,
  ]
}

function section(family: Family): string[] {
  const schedule = family.generate(sizesOf(family, { ranks, microbatches }))
  const note = family.paperSays.note === undefined ? [] : ['', `Where we differ: ${family.paperSays.note}.`]
  return [`## ${family.name}`, `${family.title}. ${family.paper}.`, ...note, '```', drawSchedule(schedule), '```', '']
}

const figure = (value: number) => String(Number(value.toFixed(3)) + 0)
const mark = (form: number | undefined) => (form === undefined ? '–' : '=')
