import { Command, CommanderError, Option } from 'commander'
import { nearestName, SkeinError } from '@skein/core'
import { readEnvironment } from './environment.ts'
import { CliErrors } from './errors.ts'
import { findRun } from './find-run.ts'
import { endingOf } from './launch/ending.ts'
import {
  byteCount,
  hostAndPort,
  nameList,
  oneOf,
  passCosts,
  timeList,
  positiveNumber,
  usage,
  wholeNumber,
} from './option-values.ts'
import { reportError } from './report-error.ts'
import { readTlsTrust, type TlsOptions } from './tls-files.ts'

const deviceNames = ['tensorflow-cuda', 'tensorflow-cpu', 'wasm', 'cpu'] as const

/** What a command's action leaves for the process. */
interface Outcome {
  status: number
}

/**
 * Parses the arguments, runs the command and tells about its failure. Never throws.
 * Status: 0 it went well · 1 it failed · 2 the command line is wrong · 128+n ended by signal n.
 */
export async function runCommandLine(args: readonly string[]): Promise<number> {
  const json = args.includes('--json')
  const outcome: Outcome = { status: 0 }
  const program = buildProgram(outcome)
  if (args.length === 0) {
    program.outputHelp()
    return 2
  }
  try {
    await program.parseAsync([...args], { from: 'user' })
    return outcome.status
  } catch (thrown) {
    if (thrown instanceof CommanderError) {
      if (thrown.exitCode === 0) return 0
      reportError(usageOf(thrown, program, args), { json })
      return 2
    }
    reportError(thrown, { json })
    if (thrown instanceof SkeinError && thrown.code === CliErrors.USAGE.code) return 2
    return outcome.status === 0 ? 1 : outcome.status
  }
}

function buildProgram(outcome: Outcome): Command {
  const program = new Command('skein')
    .description('Trains one model across many ordinary machines, in TypeScript, over plain sockets.')
    .version('0.1.0')
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .showSuggestionAfterError(false)
  const environment = readEnvironment()
  // A value from the environment is no argument that commander would parse.
  program.hook('preAction', (_, command) => {
    if (typeof command.opts()['device'] === 'string') {
      oneOf('--device (or SKEIN_DEVICE)', deviceNames)(command.opts()['device'])
    }
  })
  const deviceOption = () =>
    new Option('--device <kind>', `the device to use: ${deviceNames.join(', ')} (also by SKEIN_DEVICE)`)
      .argParser(oneOf('--device', deviceNames))
      .default(environment.device, 'the best')
  const command = (name: string, description: string) =>
    program.command(name).description(description).exitOverride().showSuggestionAfterError(false)
  const tokenOption = () =>
    new Option('--token <secret>', 'shared secret of the run (also by SKEIN_TOKEN)').default(environment.token, 'none')
  /** The folder by itself is said once: a file given apart goes before it. */
  const tlsOptions = (command: Command) =>
    command
      .addOption(
        new Option(
          '--tls <dir>',
          'speak TLS with the files of `skein certs` in this folder (also by SKEIN_TLS)',
        ).default(environment.tls, 'none'),
      )
      .option('--tls-cert <file>', 'certificate (default: cert.pem of --tls)')
      .option('--tls-key <file>', 'its private key (default: key.pem of --tls)')
      .option('--tls-ca <file>', 'authority to believe, and to ask certificates of (default: ca.pem of --tls)')
  const jsonOption = () => new Option('--json', 'one JSON object a line on stdout').default(false)

  jobOptions(command('train', 'train a job on this machine: a coordinator and N workers, with a live view'))
    .argument('<job>', 'job file, TypeScript or YAML')
    .option(
      '--workers <n>',
      'worker processes (default: dp · pp of the mesh in the job)',
      wholeNumber('--workers', 1, 1024),
    )
    .option('--resume [path]', 'go on from a checkpoint; without a path from the newest of this job')
    .option('--run-dir <dir>', 'folder of the run: log, commits, checkpoints (default: checkpoint.to/NAME-TIME)')
    .option('--checkpoint-dir <place>', 'keep the checkpoints here instead: a folder, or s3://BUCKET/PREFIX')
    .option('--port <port>', 'port of the coordinator (default: a free one)', wholeNumber('--port', 0, 65535))
    .addOption(deviceOption())
    .addOption(jsonOption())
    .option('--plain', 'plain lines also in a terminal', false)
    .action(async (job: string, options) => {
      const { train } = await import('./commands/train.ts')
      outcome.status = await train({ ...options, jobFile: job, environment })
    })

  command(
    'chaos',
    'run a job on this machine while faults are done to it, and prove from its log that nothing was lost',
  )
    .argument('<job>', 'job file, TypeScript or YAML')
    .option(
      '--workers <n>',
      'worker processes (default: dp · pp of the mesh in the job)',
      wholeNumber('--workers', 1, 64),
    )
    .option('--steps <n>', 'optimizer steps in all', wholeNumber('--steps', 1))
    .option('--seed <n>', 'draws the faults', wholeNumber('--seed', 0, 0xffff_ffff), 1)
    .option('--count <n>', 'faults to draw', wholeNumber('--count', 0, 1000), 8)
    .option('--faults <list>', 'these instead: KIND[:WORKER]@STEP[:MS], parted by commas')
    .option('--script <file>', 'these instead, from a JSON file that also says which peer, collective and chunk')
    .option('--run-dir <dir>', 'folder of the run (default: checkpoint.to/NAME-TIME)')
    .option('--timeout <s>', 'seconds until the run counts as stuck', positiveNumber('--timeout'), 600)
    .addOption(jsonOption())
    .action(async (job: string, options) => {
      const { chaos } = await import('./commands/chaos.ts')
      outcome.status = await chaos({ ...options, jobFile: job })
    })

  tlsOptions(jobOptions(command('coordinator', 'run the coordinator of a job; workers join it')))
    .requiredOption('--job <file>', 'job file, TypeScript or YAML')
    .requiredOption('--workers <n>', 'workers to wait for', wholeNumber('--workers', 1, 1024))
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <port>', 'port to listen on; 0 takes a free one', wholeNumber('--port', 0, 65535), 0)
    .addOption(tokenOption())
    .option('--run-dir <dir>', 'folder of the run (default: checkpoint.to/NAME-TIME)')
    .option('--checkpoint-dir <place>', 'keep the checkpoints here instead: a folder, or s3://BUCKET/PREFIX')
    .option('--resume [path]', 'go on from a checkpoint')
    .addOption(new Option('--store <kind>', 'where the log is kept').choices(['sqlite', 'etcd']).default('sqlite'))
    .option('--etcd <urls>', 'http(s) URLs of etcd, separated by commas; of several coordinators of a run one leads')
    .option(
      '--etcd-ttl <s>',
      'silence of the leader after which another one leads',
      wholeNumber('--etcd-ttl', 1, 600),
      5,
    )
    .option('--advertise <host>', 'host by which other machines reach this coordinator (default: --host)')
    .option('--continue', 'go on with the run in --run-dir from its last commit; its workers come back', false)
    .addOption(jsonOption())
    .addOption(new Option('--exit-with-parent', 'end when stdin ends').default(false).hideHelp())
    .action(async options => {
      const { coordinator } = await import('./commands/coordinator.ts')
      outcome.status = await coordinator({ ...options, environment })
    })

  tlsOptions(command('worker', 'join a run with this machine’s device'))
    .requiredOption(
      '--join <urls>',
      'http(s) URL of the coordinator, or of each that may lead the run: URL1,URL2; "-" reads them from stdin',
      nameList('--join'),
    )
    .addOption(tokenOption())
    .option('--id <name>', 'lasting name of this worker (default: host, process and a random part)')
    .option('--threads <n>', 'threads of its kernels (default: all cores)', wholeNumber('--threads', 1, 4096))
    .addOption(deviceOption())
    .option('--host <address>', 'address to listen on for other workers', '127.0.0.1')
    .option(
      '--port <port>',
      'port to listen on for other workers; 0 takes a free one',
      wholeNumber('--port', 0, 65535),
      0,
    )
    .option(
      '--advertise <address>',
      'HOST or HOST:PORT that other workers dial (default: --host and --port; this host’s name for 0.0.0.0)',
      hostAndPort('--advertise'),
    )
    .addOption(new Option('--lane <kind>', 'frames between workers').choices(['raw', 'ws']).default('raw'))
    .option('--no-local-lanes', 'also meet workers of this host over host and port, and check every payload')
    .option('--log-dir <dir>', 'folder for this worker’s log files')
    .option(
      '--join-timeout <s>',
      'seconds to wait for a coordinator that does not answer',
      positiveNumber('--join-timeout'),
      20,
    )
    .addOption(jsonOption())
    .addOption(new Option('--exit-with-parent', 'end when stdin ends').default(false).hideHelp())
    .action(async options => {
      const { worker } = await import('./commands/worker.ts')
      outcome.status = await worker({ ...options, environment })
    })

  command(
    'certs',
    'make an authority, and a certificate for the hosts of a run: coordinator and workers take them by --tls',
  )
    .requiredOption('--hosts <list>', 'names and addresses that the others dial: a,b,10.0.0.7', nameList('--hosts'))
    .requiredOption('--out <dir>', 'folder to write; an authority that it holds already signs again')
    .option('--days <n>', 'how long they are valid', wholeNumber('--days', 1, 3650), 365)
    .option('--each', 'a folder and a certificate for each host instead of one for all', false)
    .addOption(jsonOption())
    .action(async options => {
      const { certs } = await import('./commands/certs.ts')
      outcome.status = await certs(options)
    })

  command('generate', 'continue a text with a trained model')
    .requiredOption('--checkpoint <path>', 'checkpoint, folder of checkpoints, run folder or Hugging Face folder')
    .requiredOption('--prompt <text>', 'the text to continue')
    .option('--tokens <n>', 'tokens to generate', wholeNumber('--tokens', 1, 1_000_000), 200)
    .option(
      '--temperature <t>',
      'below 1 safer, above 1 wilder; 0 takes the likeliest token',
      nonNegative('--temperature'),
      0.8,
    )
    .option('--top-k <k>', 'draw from the k likeliest tokens (default: all)', wholeNumber('--top-k', 1))
    .option('--seed <n>', 'same seed, same text', wholeNumber('--seed', 0), 0)
    .addOption(deviceOption())
    .addOption(jsonOption())
    .action(async options => {
      const { generate } = await import('./commands/generate.ts')
      outcome.status = await generate({ ...options, environment })
    })

  command('score', 'log-probability of each token of a text: {"tokens": […], "logprobs": […]}')
    .requiredOption('--checkpoint <path>', 'checkpoint, folder of checkpoints, run folder or Hugging Face folder')
    .requiredOption('--text <text>', 'the text')
    .addOption(deviceOption())
    .addOption(jsonOption())
    .action(async options => {
      const { score } = await import('./commands/score.ts')
      outcome.status = await score({ ...options, environment })
    })

  command('export', 'write a checkpoint in a format that other tools read')
    .requiredOption('--checkpoint <path>', 'checkpoint, folder of checkpoints or run folder')
    .requiredOption('--out <dir>', 'folder to write')
    .option(
      '--format <name>',
      'hf: Hugging Face (config.json, safetensors, tokenizer)',
      oneOf('--format', ['hf']),
      'hf',
    )
    .addOption(jsonOption())
    .action(async options => {
      const { exportModel } = await import('./commands/export.ts')
      outcome.status = await exportModel({ ...options, environment })
    })

  command('doctor', 'what this machine has, which device is chosen and why, what would make it better')
    .addOption(jsonOption())
    .action(async ({ json }: { json: boolean }) => {
      const { doctor } = await import('./commands/doctor.ts')
      using ending = endingOf(3000)
      outcome.status = await doctor({ json, signal: ending.signal })
    })

  command('setup', 'put the TensorFlow runtime into this user’s cache')
    .option('--force', 'build it anew', false)
    .option('--verify', 'compare what is cached by hash', false)
    .option('--cuda', 'the runtime for NVIDIA devices')
    .addOption(new Option('--cpu', 'the runtime for CPUs').conflicts('cuda'))
    .addOption(jsonOption())
    .action(
      async ({ cuda, cpu, ...rest }: { cuda?: true; cpu?: true; json: boolean; force: boolean; verify: boolean }) => {
        const { setup } = await import('./commands/setup.ts')
        using ending = endingOf(10_000)
        const kind = cuda ? 'cuda' : cpu ? 'cpu' : undefined
        try {
          outcome.status = await setup({ ...rest, signal: ending.signal, ...(kind === undefined ? {} : { kind }) })
        } catch (thrown) {
          outcome.status = ending.status() ?? 0
          throw thrown
        }
      },
    )

  tlsOptions(command('status', 'the state of a run, from its coordinator'))
    .argument('[run]', runArgument)
    .addOption(tokenOption())
    .addOption(jsonOption())
    .action(async (run: string | undefined, options: TlsOptions & { token?: string; json: boolean }) => {
      const { status } = await import('./commands/status.ts')
      outcome.status = await status({
        json: options.json,
        ...findRun(run, { token: options.token, tls: readTlsTrust(options) }),
      })
    })

  tlsOptions(command('why', 'what holds a run up: the slow or missing worker or link, or what ended it'))
    .argument('[run]', runArgument)
    .addOption(tokenOption())
    .addOption(jsonOption())
    .action(async (run: string | undefined, options: TlsOptions & { token?: string; json: boolean }) => {
      const { why } = await import('./commands/why.ts')
      const { token, json } = options
      outcome.status = await why({ run, token, json, tls: readTlsTrust(options) })
    })

  command(
    'trace',
    'what the devices of a pipeline did in a step, beside what its schedule would do, for ui.perfetto.dev',
  )
    .argument('<run>', 'folder of the run')
    .option('--out <file>', 'where to write it; default: standard output')
    .action(async (run: string, options: { out?: string }) => {
      const { trace } = await import('./commands/trace.ts')
      outcome.status = trace({ run, out: options.out })
    })

  tlsOptions(command('watch', 'the live view of a run that was started elsewhere'))
    .argument('[run]', runArgument)
    .addOption(tokenOption())
    .addOption(jsonOption())
    .option('--plain', 'plain lines also in a terminal', false)
    .action(
      async (run: string | undefined, options: TlsOptions & { token?: string; json: boolean; plain: boolean }) => {
        const { watch } = await import('./commands/watch.ts')
        using ending = endingOf(2000)
        outcome.status = await watch({
          json: options.json,
          plain: options.plain,
          ...findRun(run, { token: options.token, tls: readTlsTrust(options) }),
          signal: ending.signal,
        })
      },
    )

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
      const { plan } = await import('./commands/plan.ts')
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
      const { explain } = await import('./commands/collectives.ts')
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
      const { compare } = await import('./commands/schedule.ts')
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
      const { draw } = await import('./commands/schedule.ts')
      outcome.status = draw({ ...options, name })
    })
  schedule(
    'ops',
    'what each rank does in order, with its messages, and the time, idle part and memory that it comes to',
  )
    .addOption(jsonOption())
    .action(async (name: string, options) => {
      const { ops } = await import('./commands/schedule.ts')
      outcome.status = ops({ ...options, name })
    })
  schedule('trace', 'its simulated times as JSON for ui.perfetto.dev or chrome://tracing; costs in ms').action(
    async (name: string, options) => {
      const { trace } = await import('./commands/schedule.ts')
      outcome.status = trace({ ...options, name })
    },
  )

  return program
}

const runArgument =
  'http(s) URL of the coordinator, or URL1,URL2 of those that may lead, or the folder of a run (default: the newest in ./runs)'

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

/** The options that change a job from outside; the same for `train` and `coordinator`. */
function jobOptions(command: Command): Command {
  return command
    .option('--steps <n>', 'optimizer steps in all', wholeNumber('--steps', 1))
    .option('--data <dir>', 'folder of text to train on')
    .option('--seed <n>', 'seed of the parameters and of the order of samples', wholeNumber('--seed', 0, 0xffff_ffff))
    .addOption(
      new Option('--precision <kind>', 'arithmetic of the kernels').argParser(oneOf('--precision', ['f32', 'bf16'])),
    )
    .option('--lr <rate>', 'peak learning rate', positiveNumber('--lr'))
    .option('--pp <n>', 'parts that the model is cut in, a worker each: mesh.pp', wholeNumber('--pp', 1, 256))
    .option('--schedule <name>', 'who computes what when, where the model is cut: see skein schedule compare')
    .addOption(
      new Option(
        '--vocabulary <kind>',
        'sharded: all parts share look-up and logits; whole: the first and the last have them',
      ).argParser(oneOf('--vocabulary', ['whole', 'sharded'])),
    )
    .option(
      '--checkpoint-every <n>',
      'steps between checkpoints; 0: only at the end',
      wholeNumber('--checkpoint-every', 0),
    )
}

function nonNegative(option: string) {
  const positive = positiveNumber(option)
  return (text: string): number => (Number(text) === 0 && text.trim() !== '' ? 0 : positive(text))
}

/** What commander refused, as an error of ours that names the nearest known word. */
function usageOf(error: CommanderError, program: Command, args: readonly string[]): SkeinError {
  const chosen = program.commands.find(command => command.name() === args.find(arg => !arg.startsWith('-')))
  const help = chosen === undefined ? '`skein --help`' : `\`skein ${chosen.name()} --help\``
  const quoted = /'([^']+)'/u.exec(error.message)?.[1]
  const what = error.message.replace(/^error: /u, '')
  const word = quoted?.split(/[ =]/u)[0]
  const known =
    error.code === 'commander.unknownCommand'
      ? program.commands.map(command => command.name())
      : error.code === 'commander.unknownOption'
        ? (chosen ?? program).options.flatMap(option => option.long ?? [])
        : []
  const nearest = word === undefined ? undefined : nearestName(word, known)
  return usage(what, nearest === undefined ? `see ${help}` : `did you mean ${nearest}? See ${help}`)
}
