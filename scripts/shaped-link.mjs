#!/usr/bin/env node
// Network namespaces joined by links with a rate and a delay, and a command in each: see `--help`. Linux, root.

import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { check } from './lib/shaped-link/check.mjs'
import { makeLink } from './lib/shaped-link/link.mjs'
import { removeLeftovers } from './lib/shaped-link/namespaces.mjs'
import { parseOptions, UsageError, usage } from './lib/shaped-link/options.mjs'

const GRACE_MS = 2_000
const TIMED_OUT = 124

/** Resolves with the exit status, never rejects: the first command that fails ends the others. */
function runCommands(link, [program, ...args], stop) {
  const environment = { ...process.env, SHAPED_LINK_ADDRESSES: link.addresses.join(',') }
  let status = 0
  const children = link.namespaces.map((namespace, node) =>
    spawn('ip', ['netns', 'exec', namespace, program, ...args], {
      stdio: 'inherit',
      env: { ...environment, SHAPED_LINK_NODE: String(node) },
      // A group of its own: a shell's children end with it.
      detached: true,
    }),
  )
  const endAll = signal => {
    for (const child of children) {
      if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) killGroup(child.pid, signal)
    }
  }
  let grace
  const end = () => {
    if (grace !== undefined) return
    endAll('SIGTERM')
    grace = setTimeout(() => endAll('SIGKILL'), GRACE_MS)
  }
  stop.addEventListener('abort', end, { once: true })
  const ends = children.map(
    child =>
      new Promise(resolve => {
        child.once('error', () => resolve(127))
        child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal]))
      }),
  )
  const noted = ends.map(async ended => {
    const code = await ended
    if (code === 0 || status !== 0) return
    status = code
    end()
  })
  return Promise.all(noted).then(() => {
    stop.removeEventListener('abort', end)
    clearTimeout(grace)
    return status
  })
}

function killGroup(pid, signal) {
  try {
    process.kill(-pid, signal)
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

/** Until stdin ends: who started this ends it so, and its death does, too. */
async function hold({ namespaces, addresses, device, carrier }, stop) {
  const nodes = namespaces.map((namespace, node) => ({ namespace, address: addresses[node], interface: device }))
  process.stdout.write(`${JSON.stringify({ ready: true, carrier, nodes })}\n`)
  await new Promise(resolve => {
    process.stdin.on('end', resolve).on('error', resolve).on('close', resolve).resume()
    stop.addEventListener('abort', resolve, { once: true })
  })
  process.stdin.destroy()
  return 0
}

async function runWithLink(options, stop) {
  const link = await makeLink(options.links, { forceTun: options.tun })
  try {
    stop.throwIfAborted()
    const work = options.hold ? hold(link, stop) : runCommands(link, options.command, stop)
    return await Promise.race([work, link.broken])
  } finally {
    await link.close()
  }
}

async function main(args) {
  const options = parseOptions(args)
  if (options.help) {
    process.stdout.write(`${usage}\n`)
    return 0
  }
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    throw new UsageError('network namespaces need Linux and root: run this with sudo')
  }
  for (const name of removeLeftovers()) process.stderr.write(`shaped-link: removed ${name}, which a killed run left\n`)
  const stopping = new AbortController()
  let stoppedWith
  const stopWith = status => {
    stoppedWith ??= status
    stopping.abort()
  }
  const timer = setTimeout(() => stopWith(TIMED_OUT), options.limitS * 1000)
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => stopWith(128 + constants.signals[name]))
  try {
    const status = options.check ? await check(options, stopping.signal) : await runWithLink(options, stopping.signal)
    return stoppedWith ?? status
  } catch (error) {
    if (stoppedWith === undefined) throw error
    return stoppedWith
  } finally {
    clearTimeout(timer)
  }
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`shaped-link: ${error.message}\n`)
  if (error instanceof UsageError) process.stderr.write('shaped-link: --help says more\n')
  process.exitCode = error instanceof UsageError ? 2 : 1
}
