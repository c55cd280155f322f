import {
  byteCount,
  nameList,
  nonNegative,
  oneOf,
  passCosts,
  timeList,
  positiveNumber,
  wholeNumber,
} from '../option-values.ts'
import type { CommandSet } from './command-set.ts'

/** Commands that look at what could be run: plans, collectives, schedules. */
export function addStudyCommands({ command, deviceOption, jsonOption, outcome }: CommandSet): void {
  command('plan', 'the pipeline schedules that fit the memory, the quickest first, from measured costs')
    .argument('<job>', 'job file, TypeScript or YAML')
    .option(
      '--ranks <p>',
      'parts to cut the model in (default: pp of the mesh in the job)',
      wholeNumber('--ranks', 2, 64),
    )
    .option(
      '--memory <size>',
      'of each rank, such as 512MiB, 2GiB (default: as much as it takes)',
      byteCount('--memory', 1024),
    )
    .option('--costs <file>', 'costs measured before (default: those of this machine, measured now)')
    .option('--save-costs <file>', 'write what was measured, as JSON')
    .addOption(deviceOption())
    .option('--threads <n>', 'threads of its kernels (default: all cores)', wholeNumber('--threads', 1, 4096))
    .option('--latency-ms <ms>', 'of a link, one way (default: that of the costs)', nonNegative('--latency-ms'))
    .option('--mbit <rate>', 'of a link, in Mbit/s (default: that of the costs)', positiveNumber('--mbit'))
    .option(
      '--jitter <part>',
      'passes vary by this part of their time: rank by the 90th percentile',
      positiveNumber('--jitter'),
    )
    .option('--top <n>', 'rows to print', wholeNumber('--top', 1), 12)
    .addOption(jsonOption())
    .action(async (job: string, options) => {
      const { plan } = await import('../commands/plan.ts')
      outcome.status = await plan({ ...options, jobFile: job })
    })

  const collectives = command('collectives', 'look at the collective algorithms')
  collectives
    .command('explain')
    .description('what each algorithm takes on given links, and a picture of the quickest')
    .exitOverride()
    .showSuggestionAfterError(false)
    .requiredOption('--ranks <n>', 'number of ranks', wholeNumber('--ranks', 1, 64))
    .requiredOption('--bytes <size>', 'bytes of the buffer, such as 4096, 64KiB, 4MiB', byteCount('--bytes'))
    .option('--kind <name>', `one of ${collectiveKinds.join(', ')}`, oneOf('--kind', collectiveKinds), 'all-reduce')
    .option('--algorithm <name>', 'the one to draw (default: the quickest)')
    .option('--hosts <n>', 'ranks are on so many hosts, neighbours together', wholeNumber('--hosts', 1, 64))
    .option('--latency-ms <ms>', 'of a link, one way', positiveNumber('--latency-ms'), 0.05)
    .option('--mbit <rate>', 'of a link, in Mbit/s', positiveNumber('--mbit'), 10_000)
    .option('--segment <size>', 'longest message', byteCount('--segment'), 512 * 1024)
    .option('--svg', 'the picture as SVG', false)
    .addOption(jsonOption())
    .action(async options => {
      const { explain } = await import('../commands/collectives.ts')
      const { segment, bytes, kind, ...rest } = options
      outcome.status = explain({ ...rest, kind, bytes, segmentBytes: segment })
    })

  const schedules = command('schedule', 'look at the pipeline schedules')
  const sized = (name: string, description: string) =>
    schedules
      .command(name)
      .description(description)
      .exitOverride()
      .showSuggestionAfterError(false)
      .requiredOption('--stages <p>', 'ranks in the pipeline', wholeNumber('--stages', 1, 64))
      .requiredOption('--microbatches <m>', 'microbatches of a step', wholeNumber('--microbatches', 1, 1024))
      .option('--cap <n>', 'most activations a rank may hold, for the rules that take it', positiveNumber('--cap'))
      .option(
        '--costs <f,b,w,comm,copy>',
        'times of the three passes, of a hop and of a copy to the host (default: 1,1,1,0,0)',
        passCosts('--costs'),
      )
  sized('compare', 'every schedule for such numbers, the quickest first, and why some are not there')
    .addOption(jsonOption())
    .action(async options => {
      const { compare } = await import('../commands/schedule.ts')
      outcome.status = compare(options)
    })
  const schedule = (name: string, description: string) =>
    sized(name, description)
      .argument('<name>', 'such as 1f1b, zb-v; docs/schedules.md has them all')
      .option('--chunks <v>', 'stages on each rank (default: what the rule has)', wholeNumber('--chunks', 1, 64))
      .option('--slices <k>', 'pieces of the sequence, for the rules that cut it', wholeNumber('--slices', 1, 64))
      .option('--with <list>', 'changed by 2bp, recompute, offload, sharded, validated', nameList('--with'))
      .option(
        '--fill <times>',
        'run frozen layers on the next step’s samples while it is idle: the time of each on a microbatch, such as 1,0.5',
        timeList('--fill'),
      )
      .option('--fill-cuts <k>', 'pieces of a microbatch for that (default: 1)', wholeNumber('--fill-cuts', 1, 64))
  schedule('draw', 'a picture of a schedule: a rank a line, time to the right')
    .option('--svg', 'the picture as SVG', false)
    .action(async (name: string, options) => {
      const { draw } = await import('../commands/schedule.ts')
      outcome.status = draw({ ...options, name })
    })
  schedule(
    'ops',
    'what each rank does in order, with its messages, and the time, idle part and memory that it comes to',
  )
    .addOption(jsonOption())
    .action(async (name: string, options) => {
      const { ops } = await import('../commands/schedule.ts')
      outcome.status = ops({ ...options, name })
    })
  schedule('trace', 'its simulated times as JSON for ui.perfetto.dev or chrome://tracing; costs in ms').action(
    async (name: string, options) => {
      const { trace } = await import('../commands/schedule.ts')
      outcome.status = trace({ ...options, name })
    },
  )
}

/** Kinds that have a closed form. */
const collectiveKinds = [
  'all-reduce',
  'reduce-scatter',
  'all-gather',
  'broadcast',
  'reduce',
  'gather',
  'scatter',
  'all-to-all',
] as const
