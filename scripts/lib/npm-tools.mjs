import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { isAlive } from './lock.mjs'
import { readJson, writeJson } from './places.mjs'
import { runStep } from './run.mjs'

// Node and pnpm from the npm registry, each version in a folder of its own in the user's cache: made under another name,
// tried, stamped, renamed. A folder without its stamp is no tool, and is made again.

const STAMP = 'skein-tool.json'

/** A missing or failing outside program, with what to do about it. */
export class SetupError extends Error {}

/** The npm that started us, else the one on the PATH. */
export function npmCommand(env = process.env) {
  const script = env.npm_execpath
  const isNpm = script !== undefined && path.basename(script) === 'npm-cli.js' && fs.existsSync(script)
  return isNpm ? [process.execPath, script] : ['npm']
}

/** Folder of a finished tool, or undefined. `entry` is the file, relative to it, that callers run. */
export function findTool(cache, name, version) {
  const folder = path.join(cache, name, version)
  const stamp = readJson(path.join(folder, STAMP))
  if (stamp?.version !== version) return undefined
  const entry = path.join(folder, stamp.entry)
  return fs.existsSync(entry) ? entry : undefined
}

/**
 * Installs `candidates` (npm package and the entry file that it brings) in turn until one's entry passes `works`.
 * Returns the entry's path in the cache.
 */
export async function installTool(
  task,
  { cache, name, version, candidates, works, npm = npmCommand(), env = process.env },
) {
  const folder = path.join(cache, name, version)
  const said = []
  fs.mkdirSync(path.dirname(folder), { recursive: true })
  clearLeftovers(path.dirname(folder))
  for (const { spec, entry } of candidates) {
    const temporary = fs.mkdtempSync(path.join(path.dirname(folder), `.${version}-${process.pid}-`))
    try {
      const args = [
        'install',
        '--prefix',
        temporary,
        '--no-audit',
        '--no-fund',
        '--loglevel=error',
        '--ignore-scripts=false',
        spec,
      ]
      const watch = setInterval(() => task.detail(`${megabytes(temporary)} MB unpacked`), 500)
      const result = await runStep(task, npm[0], [...npm.slice(1), ...args], { env: npmEnvironment(env) }).finally(() =>
        clearInterval(watch),
      )
      if (result.status === undefined) throw new SetupError(missingNpm)
      if (result.status === 0 && works(path.join(temporary, entry))) {
        writeJson(path.join(temporary, STAMP), { version, entry })
        replaceFolder(temporary, folder)
        return path.join(folder, entry)
      }
      said.push(
        `npm install ${spec} ended with status ${result.status}`,
        ...result.lines.slice(-8).map(line => `  ${line}`),
      )
    } finally {
      fs.rmSync(temporary, { recursive: true, force: true })
    }
  }
  throw new SetupError(
    `${name} ${version} could not be installed with npm.\n${said.join('\n')}\nCheck the network and npm's configuration (\`npm ping\`), then run the same command again.`,
  )
}

const missingNpm =
  'npm is not on the PATH. Install it with your Node (`apt-get install npm` on Debian and Ubuntu), then run the same command again.'

/** Folders of installations whose process is gone. */
function clearLeftovers(parent) {
  for (const name of fs.readdirSync(parent)) {
    const pid = /^\..*-(\d+)-[^-]+$/.exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid))) fs.rmSync(path.join(parent, name), { recursive: true, force: true })
  }
}

/** A folder of the same name that lost its stamp gives way; one that another process finished meanwhile is as good as ours. */
function replaceFolder(temporary, folder) {
  if (readJson(path.join(folder, STAMP)) === undefined) fs.rmSync(folder, { recursive: true, force: true })
  try {
    fs.renameSync(temporary, folder)
  } catch (error) {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
  }
}

/** Without what an outer `npm start` sets for its own run: the inner npm reads the user's configuration afresh. */
function npmEnvironment(env) {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^npm_(lifecycle|package|command|config_local_prefix)/.test(name)),
  )
}

function megabytes(folder) {
  let bytes = 0
  const visit = at => {
    for (const entry of fs.readdirSync(at, { withFileTypes: true })) {
      const where = path.join(at, entry.name)
      if (entry.isDirectory()) visit(where)
      else bytes += fs.lstatSync(where, { throwIfNoEntry: false })?.size ?? 0
    }
  }
  try {
    visit(folder)
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
  }
  return Math.round(bytes / 1e6)
}

/** The Node to run everything with: this one if the project supports it, else one in the cache; undefined when it must be installed. */
export function findNode(cache, { version, supported }) {
  return supported(process.versions.node) ? process.execPath : findTool(cache, 'node', version)
}

/** The npm package `node` brings its binary by an install script; where scripts are off, the package of this platform is taken itself. */
export function installNode(task, { cache, version }) {
  const platform = `${process.platform}-${process.arch}`
  return installTool(task, {
    cache,
    name: 'node',
    version,
    candidates: [
      { spec: `node@${version}`, entry: 'node_modules/node/bin/node' },
      { spec: `node-${platform}@${version}`, entry: `node_modules/node-${platform}/bin/node` },
    ],
    works: entry => spawnSync(entry, ['--version'], { encoding: 'utf8' }).stdout?.trim() === `v${version}`,
  })
}

export function installPnpm(task, { cache, version }) {
  const entry = 'node_modules/pnpm/bin/pnpm.mjs'
  return installTool(task, {
    cache,
    name: 'pnpm',
    version,
    candidates: [{ spec: `pnpm@${version}`, entry }],
    works: file => spawnSync(process.execPath, [file, '--version'], { encoding: 'utf8' }).stdout?.trim() === version,
  })
}
