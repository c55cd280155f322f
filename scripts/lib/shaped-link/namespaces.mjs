import { execFileSync, spawnSync } from 'node:child_process'
import fs from 'node:fs'

// Network namespaces that say in their name who made them, so that whoever comes next finds what a killed run left.

const PREFIX = 'skein-link'
const IP_TIMEOUT_MS = 20_000

/** Runs `ip`; its error output is the message. */
export function ip(...args) {
  run('ip', args)
}

export function run(program, args) {
  try {
    execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: IP_TIMEOUT_MS })
  } catch (error) {
    const said = String(error.stderr ?? '').trim() || error.message
    throw new Error(`${program} ${args.join(' ')}: ${said}`, { cause: error })
  }
}

/** Whether a command succeeds; what it says is nobody's concern. */
export const succeeds = (program, args) =>
  spawnSync(program, args, { stdio: 'ignore', timeout: IP_TIMEOUT_MS }).status === 0

/** `skein-link-<pid>-<start of that process in clock ticks>-<suffix>`: a process id alone comes back in use. */
export function nameOf(suffix, pid = process.pid) {
  return `${PREFIX}-${pid}-${startOf(pid)}-${suffix}`
}

/** Of these names, those whose maker is gone. */
export function leftoversAmong(names, startOfProcess = startOf) {
  return names.filter(name => {
    const [, pid, start] = new RegExp(`^${PREFIX}-(\\d+)-(\\d+)-\\w+$`).exec(name) ?? []
    return pid !== undefined && String(startOfProcess(Number(pid))) !== start
  })
}

/** Removes what killed runs left, their processes included; returns the names. */
export function removeLeftovers() {
  const names = fs.existsSync('/run/netns') ? fs.readdirSync('/run/netns') : []
  const left = leftoversAmong(names)
  for (const name of left) removeNamespace(name)
  return left
}

export function addNamespace(name) {
  ip('netns', 'add', name)
  ip('-n', name, 'link', 'set', 'lo', 'up')
}

/** Ends every process in it, then removes it; harmless where it is gone. */
export function removeNamespace(name) {
  const found = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8', timeout: IP_TIMEOUT_MS })
  for (const pid of (found.stdout ?? '').split('\n').filter(line => line !== '')) {
    try {
      process.kill(Number(pid), 'SIGKILL')
    } catch (error) {
      if (error.code !== 'ESRCH') throw error
    }
  }
  spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore', timeout: IP_TIMEOUT_MS })
}

/** When a process began, in clock ticks since the machine did; undefined for one that does not exist. */
function startOf(pid) {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is a name in brackets and may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return undefined
    throw error
  }
}
