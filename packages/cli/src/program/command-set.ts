import { type Command, Option } from 'commander'
import type { Environment } from '../environment.ts'
import { oneOf } from '../option-values.ts'

/** What a command's action leaves for the process. */
export interface Outcome {
  status: number
}

/** What the commands of a program are made of. */
export interface CommandSet {
  readonly outcome: Outcome
  readonly environment: Environment
  readonly command: (name: string, description: string) => Command
  readonly deviceOption: () => Option
  readonly tokenOption: () => Option
  readonly jsonOption: () => Option
  /** Adds the options for TLS, and returns the command. */
  readonly tlsOptions: (command: Command) => Command
}

const deviceNames = ['tensorflow-cuda', 'tensorflow-cpu', 'wasm', 'cpu'] as const

export function commandSet(program: Command, environment: Environment, outcome: Outcome): CommandSet {
  // A value from the environment is no argument that commander would parse.
  program.hook('preAction', (_, command) => {
    if (typeof command.opts()['device'] === 'string') {
      oneOf('--device (or SKEIN_DEVICE)', deviceNames)(command.opts()['device'])
    }
  })
  return {
    outcome,
    environment,
    command: (name, description) =>
      program.command(name).description(description).exitOverride().showSuggestionAfterError(false),
    deviceOption: () =>
      new Option('--device <kind>', `the device to use: ${deviceNames.join(', ')} (also by SKEIN_DEVICE)`)
        .argParser(oneOf('--device', deviceNames))
        .default(environment.device, 'the best'),
    tokenOption: () =>
      new Option('--token <secret>', 'shared secret of the run (also by SKEIN_TOKEN)').default(
        environment.token,
        'none',
      ),
    jsonOption: () => new Option('--json', 'one JSON object a line on stdout').default(false),
    // The folder by itself is said once: a file given apart goes before it.
    tlsOptions: command =>
      command
        .addOption(
          new Option(
            '--tls <dir>',
            'speak TLS with the files of `skein certs` in this folder (also by SKEIN_TLS)',
          ).default(environment.tls, 'none'),
        )
        .option('--tls-cert <file>', 'certificate (default: cert.pem of --tls)')
        .option('--tls-key <file>', 'its private key (default: key.pem of --tls)')
        .option('--tls-ca <file>', 'authority to believe, and to ask certificates of (default: ca.pem of --tls)'),
  }
}
