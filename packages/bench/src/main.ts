/**
 * `npm run bench [-- NAME… --json]`: runs all benches or those named, prints a table, or with --json one object a case, and writes
 * bench/results/<name>_<machine>_<yyyymm>.md. Progress goes to stderr. Status: 0 measured · 1 a bench failed · 2 wrong arguments.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { nearestName } from '@skein/core'
import { chooseDevice } from '@skein/device'
import { benches } from './benches.ts'
import { places } from './places.ts'
import { writeResults } from './results-file.ts'
import { tableOf } from './table.ts'

const names = Object.keys(benches)
const usage = `usage: npm run bench -- [NAME…] [--json]\n  benches: ${names.join(', ')}; all when none is named\n`
const report = (line: string) => process.stderr.write(`${line}\n`)

async function main(args: readonly string[]): Promise<number> {
  const given = readArguments(args)
  if (typeof given === 'string') {
    process.stderr.write(`${given}\n${usage}`)
    return 2
  }
  if (given.help) {
    process.stdout.write(usage)
    return 0
  }
  let failures = 0
  for (const name of given.names) {
    try {
      await runBench(name, given.json)
    } catch (error) {
      failures++
      report(`${name} failed: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return failures === 0 ? 0 : 1
}

interface Given {
  readonly names: readonly string[]
  readonly json: boolean
  readonly help: boolean
}

/** The arguments, or what is wrong with them. */
function readArguments(args: readonly string[]): Given | string {
  let parsed: { values: { json?: boolean; help?: boolean }; positionals: string[] }
  try {
    const options = { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const
    parsed = parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
  const { values, positionals } = parsed
  for (const name of positionals) {
    if (names.includes(name)) continue
    const nearest = nearestName(name, names)
    return `there is no bench "${name}"${nearest === undefined ? '' : `; did you mean "${nearest}"?`}`
  }
  return {
    names: positionals.length === 0 ? names : positionals,
    json: values.json === true,
    help: values.help === true,
  }
}

async function runBench(name: string, json: boolean): Promise<void> {
  report(`== ${name}`)
  const open = benches[name]
  if (open === undefined) throw new Error(`there is no bench ${name}`)
  const { bench, versions } = await open(report)
  const before = loadAverage()
  const cases = await bench.run(line => report(`  ${line}`))
  // Other programs spoil times, and not of both sides alike: the reader must see how busy the machine was.
  const load = { 'load average': `${before} before, ${loadAverage()} after` }
  const device = await chooseDevice()
  const own = { node: process.versions.node, skein: skeinVersion(), [deviceName(device.kind)]: device.version }
  const file = writeResults(places.results, name, bench.about, cases, { ...own, ...versions, ...load })
  if (json) for (const each of cases) process.stdout.write(`${JSON.stringify(each)}\n`)
  else process.stdout.write(`${tableOf(name, bench.about, cases)}\n`)
  report(`  written: ${path.relative(process.cwd(), file)}`)
}

const loadAverage = () => os.loadavg()[0]?.toFixed(1) ?? '?'

const deviceName = (kind: string) => (kind.startsWith('tensorflow') ? 'TensorFlow' : `tfjs (${kind})`)

function skeinVersion(): string {
  const { version } = JSON.parse(fs.readFileSync(path.join(places.root, 'package.json'), 'utf8')) as { version: string }
  return version
}

process.exitCode = await main(process.argv.slice(2))
