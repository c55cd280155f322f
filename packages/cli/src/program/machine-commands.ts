import { Option } from 'commander'
import { endingOf } from '../launch/ending.ts'
import type { CommandSet } from './command-set.ts'

/** Commands for this machine. */
export function addMachineCommands({ command, jsonOption, outcome }: CommandSet): void {
  command('doctor', 'what this machine has, which device is chosen and why, what would make it better')
    .addOption(jsonOption())
    .action(async ({ json }: { json: boolean }) => {
      const { doctor } = await import('../commands/doctor.ts')
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
        const { setup } = await import('../commands/setup.ts')
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
}
