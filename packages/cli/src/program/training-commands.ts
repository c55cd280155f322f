import { type Command, Option } from 'commander'
import { endingOf } from '../launch/ending.ts'
import { hostAndPort, nameList, oneOf, positiveNumber, wholeNumber } from '../option-values.ts'
import type { CommandSet } from './command-set.ts'

/** Commands that run a job, and what its processes are started with. */
export function addTrainingCommands({
  command,
  deviceOption,
  tokenOption,
  tlsOptions,
  jsonOption,
  environment,
  outcome,
}: CommandSet): void {
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
      const { train } = await import('../commands/train.ts')
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
      const { chaos } = await import('../commands/chaos.ts')
      using ending = endingOf(5_000)
      try {
        outcome.status = await chaos({ ...options, jobFile: job, signal: ending.signal })
      } catch (error) {
        outcome.status = ending.status() ?? 1
        throw error
      }
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
      const { coordinator } = await import('../commands/coordinator.ts')
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
    .option(
      '--reconnect-timeout <s>',
      'seconds to look for a coordinator that was lost; the state is kept meanwhile',
      positiveNumber('--reconnect-timeout'),
      120,
    )
    .addOption(jsonOption())
    .addOption(new Option('--exit-with-parent', 'end when stdin ends').default(false).hideHelp())
    .action(async options => {
      const { worker } = await import('../commands/worker.ts')
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
      const { certs } = await import('../commands/certs.ts')
      outcome.status = await certs(options)
    })
}

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
