import { findRun } from '../find-run.ts'
import { endingOf } from '../launch/ending.ts'
import { readTlsTrust, type TlsOptions } from '../tls-files.ts'
import type { CommandSet } from './command-set.ts'

/** Commands that look at a run. */
export function addRunCommands({ command, tokenOption, tlsOptions, jsonOption, outcome }: CommandSet): void {
  tlsOptions(command('status', 'the state of a run, from its coordinator'))
    .argument('[run]', runArgument)
    .addOption(tokenOption())
    .addOption(jsonOption())
    .action(async (run: string | undefined, options: TlsOptions & { token?: string; json: boolean }) => {
      const { status } = await import('../commands/status.ts')
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
      const { why } = await import('../commands/why.ts')
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
      const { trace } = await import('../commands/trace.ts')
      outcome.status = trace({ run, out: options.out })
    })

  tlsOptions(command('watch', 'the live view of a run that was started elsewhere'))
    .argument('[run]', runArgument)
    .addOption(tokenOption())
    .addOption(jsonOption())
    .option('--plain', 'plain lines also in a terminal', false)
    .action(
      async (run: string | undefined, options: TlsOptions & { token?: string; json: boolean; plain: boolean }) => {
        const { watch } = await import('../commands/watch.ts')
        using ending = endingOf(2000)
        outcome.status = await watch({
          json: options.json,
          plain: options.plain,
          ...findRun(run, { token: options.token, tls: readTlsTrust(options) }),
          signal: ending.signal,
        })
        if (outcome.status === 0) outcome.status = ending.stoppedStatus()
      },
    )
}

const runArgument =
  'http(s) URL of the coordinator, or URL1,URL2 of those that may lead, or the folder of a run (default: the newest in ./runs)'
