import fs from 'node:fs'
import path from 'node:path'
import { createBoard } from './board.mjs'
import { withLock } from './lock.mjs'
import { inRange } from './node-version.mjs'
import { findNode, findTool, installNode, installPnpm, SetupError } from './npm-tools.mjs'
import { cacheDir, readJson } from './places.mjs'
import { runStep } from './run.mjs'
import {
  clearStamp,
  hasOutput,
  installFingerprint,
  packageFolders,
  pruneOutput,
  readStamp,
  sourceFingerprint,
  writeStamp,
} from './stamps.mjs'

/** The Node that is installed where the system's is not supported. */
export const defaultNode = '24.21.0'

/**
 * Brings a clone to where its programs run: a supported Node, the packages, the build and, if `runtime` is wanted, the TensorFlow
 * runtime. Each step is skipped when its stamp says it is done; a step that was cut off has no stamp and runs again.
 * Returns `{ node }`, the Node to run everything with. Without a TensorFlow runtime it says loudly why, and goes on.
 * @throws SetupError, Interrupted
 */
export async function prepare(root, { runtime, env = process.env, sink = process.stderr }) {
  const cache = cacheDir(env)
  const manifest = readJson(path.join(root, 'package.json'))
  const tools = {
    node: { version: defaultNode, supported: version => inRange(version, manifest.engines.node) },
    pnpm: { version: manifest.packageManager.replace(/^pnpm@/, '').replace(/\+.*$/, '') },
  }
  const ready = () => {
    const node = findNode(cache, tools.node)
    const whole = isInstalled(root) && isBuilt(root) && (!runtime || hasRuntime(root, cache))
    return node !== undefined && whole ? { node } : undefined
  }
  const board = createBoard(sink)
  const work = () => ready() ?? setUp({ root, cache, tools, runtime, env, board })
  const onWait = pid =>
    board.note(`skein: process ${pid} is setting this clone up; waiting for it (its lock is .skein/set-up.lock)`)
  try {
    return ready() ?? (await withLock(path.join(root, '.skein', 'set-up.lock'), work, onWait))
  } finally {
    board.close()
  }
}

const isInstalled = root => readStamp(root, 'install')?.fingerprint === installFingerprint(root)
const isBuilt = root => hasOutput(root) && readStamp(root, 'build')?.fingerprint === sourceFingerprint(root)

/** Where Node keeps compiled JavaScript between runs (a worker starts 0.1 s sooner); emptied by every build, so that it does not grow. */
export const compileCache = root => path.join(root, 'node_modules', '.skein', 'compile-cache')

/** The runtime of this build of @skein/device, in the cache of this user. */
function hasRuntime(root, cache) {
  const stamp = readStamp(root, 'runtime')
  return stamp?.cache === cache && fs.existsSync(path.join(stamp.folder, 'manifest.json'))
}

async function setUp(setup) {
  const { root, cache, tools, board } = setup
  const needsInstall = !isInstalled(root)
  // pnpm runs on any Node that this script does, so the packages need not wait for the Node that runs them.
  const [node] = await all([
    findNode(cache, tools.node) ??
      task(board, `Node ${defaultNode}`, one => installNode(one, { cache, version: defaultNode })),
    needsInstall ? installPackages(setup) : undefined,
  ])
  const withNode = { ...setup, node, env: nodeFirst(setup.env, node) }
  if (!isBuilt(root)) {
    clearStamp(root, 'runtime')
    await build({ ...withNode, title: 'build of @skein/device', projects: ['packages/device'] })
  }
  const runtimeWanted = setup.runtime && !hasRuntime(root, cache)
  await all([isBuilt(root) ? undefined : buildAll(withNode), runtimeWanted ? setUpRuntime(withNode) : undefined])
  return { node }
}

/** As Promise.all, but waits for every part before it fails: no step is left running behind the message. */
async function all(parts) {
  const results = await Promise.allSettled(parts)
  const failed = results.filter(result => result.status === 'rejected').map(result => result.reason)
  if (failed.length > 0) throw failed.find(reason => !(reason instanceof SetupError)) ?? failed[0]
  return results.map(result => result.value)
}

async function task(board, title, work) {
  const one = board.start(title)
  try {
    const result = await work(one)
    one.done()
    return result
  } catch (error) {
    one.failed('see below')
    throw error
  }
}

async function installPackages({ root, cache, tools, board, env }) {
  const { version } = tools.pnpm
  const pnpm =
    findTool(cache, 'pnpm', version) ??
    (await task(board, `pnpm ${version}`, one => installPnpm(one, { cache, version })))
  const fingerprint = installFingerprint(root)
  await task(board, 'packages', async one => {
    // `engines` is checked for the Node that will run them, which may still be on its way; which pnpm this is, is our affair.
    const args = [
      pnpm,
      'install',
      '--frozen-lockfile',
      '--pm-on-fail=ignore',
      '--reporter=append-only',
      `--config.node-version=${defaultNode}`,
    ]
    const result = await runStep(one, process.execPath, args, { cwd: root, env: { ...env, CI: 'true' } })
    if (result.status !== 0) throw failure('the packages could not be installed', result)
  })
  clearStamp(root, 'build')
  writeStamp(root, 'install', { fingerprint })
}

async function build({ root, node, board, env, title, projects }) {
  await task(board, title, async one => {
    const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const result = await runStep(one, node, [tsc, '-b', ...projects], { cwd: root, env })
    if (result.status !== 0) throw failure('the build failed', result)
  })
}

async function buildAll(setup) {
  const { root } = setup
  const fingerprint = sourceFingerprint(root)
  await build({ ...setup, title: `build of ${packageFolders(root).length} packages`, projects: [] })
  pruneOutput(root)
  fs.rmSync(compileCache(root), { recursive: true, force: true })
  writeStamp(root, 'build', { fingerprint })
}

async function setUpRuntime({ root, cache, node, board, env }) {
  const one = board.start('TensorFlow runtime')
  const result = await runStep(one, node, [path.join(root, 'packages/device/dist/runtime/setup-main.js')], {
    cwd: root,
    env,
  })
  const folder = result.stdout.trim()
  if (result.status === 0 && fs.existsSync(folder)) {
    one.done(folder)
    writeStamp(root, 'runtime', { cache, folder })
    return
  }
  one.failed('going on without it')
  const bar = '!'.repeat(78)
  const said = result.lines.filter(line => !line.startsWith('  ')).join('\n')
  board.note(`${bar}\nNO TENSORFLOW: training will use the wasm backend, about 35 times slower.\n${said}\n${bar}`)
}

/** Scripts that say `node` get the Node we run. */
function nodeFirst(env, node) {
  return { ...env, PATH: `${path.dirname(node)}${path.delimiter}${env.PATH ?? ''}` }
}

function failure(what, { status, lines }) {
  const how = status === undefined ? 'it could not be started' : `exit status ${status}`
  return new SetupError(`${what} (${how}):\n${lines.slice(-40).join('\n')}`)
}
