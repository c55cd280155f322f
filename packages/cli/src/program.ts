import { Command, CommanderError } from 'commander'
import { nearestName, SkeinError } from '@skein/core'
import { readEnvironment } from './environment.ts'
import { CliErrors } from './errors.ts'
import { usage } from './option-values.ts'
import { commandSet, type Outcome } from './program/command-set.ts'
import { addMachineCommands } from './program/machine-commands.ts'
import { addModelCommands } from './program/model-commands.ts'
import { addRunCommands } from './program/run-commands.ts'
import { addStudyCommands } from './program/study-commands.ts'
import { addTrainingCommands } from './program/training-commands.ts'
import { reportError } from './report-error.ts'

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
      // A command of commands by itself.
      if (thrown.code === 'commander.help') commandOf(program, args).outputHelp()
      else reportError(usageOf(thrown, commandOf(program, args)), { json })
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
  const set = commandSet(program, readEnvironment(), outcome)
  // In the order in which help lists them.
  addTrainingCommands(set)
  addModelCommands(set)
  addMachineCommands(set)
  addRunCommands(set)
  addStudyCommands(set)
  return program
}

/** The command that was meant, as far as its words are known. */
function commandOf(program: Command, args: readonly string[]): Command {
  let command = program
  for (const word of args.filter(arg => !arg.startsWith('-'))) {
    const next = command.commands.find(one => one.name() === word)
    if (next === undefined) break
    command = next
  }
  return command
}

/** "skein schedule draw". */
const nameOf = (command: Command): string =>
  command.parent === null ? command.name() : `${nameOf(command.parent)} ${command.name()}`

/** What commander refused, as an error of ours that names the nearest known word. */
function usageOf(error: CommanderError, command: Command): SkeinError {
  const help = `\`${nameOf(command)} --help\``
  const quoted = /'([^']+)'/u.exec(error.message)?.[1]
  const what = error.message.replace(/^error: /u, '')
  const word = quoted?.split(/[ =]/u)[0]
  const known =
    error.code === 'commander.unknownCommand'
      ? command.commands.map(one => one.name())
      : error.code === 'commander.unknownOption'
        ? command.options.flatMap(option => option.long ?? [])
        : []
  const nearest = word === undefined ? undefined : nearestName(word, known)
  return usage(what, nearest === undefined ? `see ${help}` : `did you mean ${nearest}? See ${help}`)
}
