import { unitCosts, workOf } from './costs.ts'
import { drawSchedule } from './draw.ts'
import { families } from './families.ts'
import { type Family, sizesOf } from './family.ts'
import { simulate } from './simulate.ts'
import { steadyPeriod } from './steady.ts'
import { messagesBetween } from './traffic.ts'

const ranks = 4
const microbatches = 8

/** docs/schedules.md: every schedule with its paper's figures beside what the simulator finds, and its picture. */
export function schedulesPage(): string {
  return [
    '# Schedules',
    '',
    'Made by `packages/schedule/src/page.ts` from the rules themselves; `UPDATE_DOCS=1 npx vitest run packages/schedule/dist/page.test.js` writes it again.',
    '',
    `All figures for ${ranks} ranks and ${microbatches} microbatches, every pass one unit, messages free. T is the work of a microbatch on a rank (3 units), p the ranks,`,
    'm the microbatches, v the stages of a rank. **Extra** is the time of a step beyond m·T, once simulated with a barrier at its end and once among many steps without one;',
    '**idle** the part of all devices’ time. **Held** are activations, in microbatches on the stages of one rank. **Messages** are activations and gradients of all ranks. **=** where a closed form is held against',
    'the simulator for 1 to 8 ranks, 1 to 32 microbatches and random costs, and equals it; **–** where there is none for these sizes. What runs on real devices is not in here.',
    '',
    '| schedule | v | bubble, paper | extra | steady extra | idle | held, paper | held by rank | messages |',
    '|---|---|---|---|---|---|---|---|---|',
    ...families.map(row),
    '',
    ...families.flatMap(section),
  ].join('\n')
}

function row(family: Family): string {
  const sizes = sizesOf(family, { ranks, microbatches })
  const schedule = family.generate(sizes)
  const { makespan, syncBubble, peakActivations } = simulate(schedule, unitCosts)
  const work = microbatches * workOf(unitCosts)
  const { forms, paperSays } = family
  const steady = schedule.updates === 'microbatch' ? 0 : steadyPeriod(schedule, unitCosts) - work
  const hasPeak = forms.peak?.(sizes, 0) ?? forms.mostHeld?.(sizes)
  const sent = messagesBetween(schedule)
    .flat()
    .reduce((sum, count) => sum + count, 0)
  const cells = [
    `[${family.title}](#${family.name}) \`${family.name}\``,
    schedule.stages / ranks,
    paperSays.bubble,
    `${figure(makespan - work)} ${mark(forms.extra?.(sizes, unitCosts))}`,
    `${figure(steady)} ${mark(schedule.updates === 'microbatch' ? 0 : forms.steadyExtra?.(sizes, unitCosts))}`,
    `${(100 * syncBubble).toFixed(1)} %`,
    paperSays.peak,
    `${peakActivations.map(figure).join(' ')} ${mark(hasPeak)}`,
    `${sent} ${mark(forms.messages(sizes))}`,
  ]
  return `| ${cells.join(' | ')} |`
}

function section(family: Family): string[] {
  const schedule = family.generate(sizesOf(family, { ranks, microbatches }))
  const note = family.paperSays.note === undefined ? [] : ['', `Where we differ: ${family.paperSays.note}.`]
  return [`## ${family.name}`, `${family.title}. ${family.paper}.`, ...note, '```', drawSchedule(schedule), '```', '']
}

const figure = (value: number) => String(Number(value.toFixed(3)) + 0)
const mark = (form: number | undefined) => (form === undefined ? '–' : '=')
