// The one door to a clone: brings what is missing (Node, packages, build, TensorFlow runtime), then runs what was asked for.
//   node scripts/bootstrap.mjs start|test|bench|build|lint|skein [arguments]
// Plain JavaScript for any Node from 18 on, with nothing installed. What it says goes to stderr; stdout is the program's.

import path from 'node:path'
import { SetupError } from './lib/npm-tools.mjs'
import { root } from './lib/places.mjs'
import { compileCache, prepare } from './lib/prepare.mjs'
import { Interrupted, runProgram } from './lib/run.mjs'
import { readReport, removeReport, reportLines, testStatus } from './lib/test-report.mjs'

/** Commands of the CLI that compute, and so want the TensorFlow runtime before they start. */
const COMPUTING = ['train', 'worker', 'generate', 'score']

const inClone = name => path.join(root, name)
const relative = file => path.relative(process.cwd(), file) || file

const verbs = {
  start: {
    runtime: true,
    run: (node, args) => runProgram(node, [inClone('packages/cli/dist/main.js'), 'train', exampleJob(), ...args]),
  },
  test: { runtime: true, run: test },
  bench: { runtime: true, run: (node, args) => runProgram(node, [inClone('packages/bench/dist/main.js'), ...args]) },
  build: { runtime: false, run: () => 0 },
  lint: { runtime: false, run: lint },
  skein: {
    runtime: args => COMPUTING.includes(args[0]),
    run: (node, args) => runProgram(node, [inClone('packages/cli/dist/main.js'), ...args]),
  },
}

const exampleJob = () => relative(inClone('packages/examples/gpt.job.ts'))

async function test(node, args) {
  const report = inClone('test-results/vitest.json')
  removeReport(report)
  const status = await runProgram(node, [inClone('node_modules/vitest/vitest.mjs'), 'run', ...args], { cwd: root })
  const counts = readReport(report)
  if (counts === undefined) process.stderr.write('skein: vitest ended without a report\n')
  else process.stdout.write(`${reportLines(counts).join('\n')}\n`)
  return testStatus(status, counts)
}

/** All checks run, also after one has failed: one look shows everything. */
async function lint(node) {
  const bin = (name, file) => inClone(`node_modules/${name}/${file}`)
  const checks = [
    ['oxlint', [bin('oxlint', 'bin/oxlint'), '--type-aware', 'packages', 'test']],
    // Plain JavaScript: it runs before there is a compiler, so there are no types to be aware of.
    ['oxlint of scripts', [bin('oxlint', 'bin/oxlint'), 'scripts']],
    ['biome', [bin('@biomejs/biome', 'bin/biome'), 'format', '.']],
    ['layers', [inClone('scripts/check-layers.mjs')]],
  ]
  const failed = []
  for (const [name, args] of checks) {
    if ((await runProgram(node, args, { cwd: root })) !== 0) failed.push(name)
  }
  process.stderr.write(failed.length === 0 ? 'lint: clean\n' : `lint: ${failed.join(', ')} failed\n`)
  return failed.length === 0 ? 0 : 1
}

async function main([name, ...args]) {
  const verb = Object.hasOwn(verbs, name ?? '') ? verbs[name] : undefined
  if (verb === undefined) {
    process.stderr.write(`usage: node scripts/bootstrap.mjs ${Object.keys(verbs).join('|')} [arguments]\n`)
    return 2
  }
  const runtime = typeof verb.runtime === 'function' ? verb.runtime(args) : verb.runtime
  const { node } = await prepare(root, { runtime })
  process.env.PATH = `${path.dirname(node)}${path.delimiter}${process.env.PATH ?? ''}`
  process.env.NODE_COMPILE_CACHE ??= compileCache(root)
  return verb.run(node, args)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof SetupError || error instanceof Interrupted)) throw error
  process.stderr.write(`skein: ${error.message}\n`)
  process.exitCode = error instanceof Interrupted ? error.exitStatus : 1
}
