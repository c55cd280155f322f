import { spawn } from 'node:child_process'

// Child processes of the bootstrap. Each has a process group of its own, so that a Ctrl-C in the terminal reaches the
// bootstrap alone, which passes it on once. (npm sends its script a second SIGINT on top of the terminal's.)

const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGWINCH']
const SAME_KEYPRESS_MS = 250
const KEPT_LINES = 200

/** Calls `send(signal)` for the signals of this process until `stop()`; two of a kind within 250 ms are one. */
function passSignals(send) {
  const lastMs = new Map()
  const handlers = PASSED_ON.map(name => {
    const handler = () => {
      const now = performance.now()
      if (name !== 'SIGWINCH' && now - (lastMs.get(name) ?? Number.NEGATIVE_INFINITY) < SAME_KEYPRESS_MS) return
      lastMs.set(name, now)
      send(name)
    }
    process.on(name, handler)
    return [name, handler]
  })
  return () => {
    for (const [name, handler] of handlers) process.off(name, handler)
  }
}

const ended = child =>
  new Promise(resolve => {
    child.once('error', error => resolve({ error }))
    child.once('close', (status, signal) => resolve({ status, signal }))
  })

const kill = (pid, signal) => {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (error.code !== 'ESRCH') throw error
  }
}

/**
 * Runs the program that the user asked for, on this process's own stdin, stdout and stderr; it gets every signal once. Ctrl-Z stops and
 * continues it together with this process. Returns the exit status that this process should end with.
 */
export async function runProgram(program, args, options = {}) {
  const child = spawn(program, args, { ...options, stdio: 'inherit', detached: true })
  const stop = passSignals(signal => child.kill(signal))
  const onExit = () => kill(-child.pid, 'SIGKILL')
  const onSuspend = () => {
    kill(-child.pid, 'SIGSTOP')
    process.kill(process.pid, 'SIGSTOP')
  }
  const onContinue = () => kill(-child.pid, 'SIGCONT')
  process.on('exit', onExit)
  process.on('SIGTSTP', onSuspend)
  process.on('SIGCONT', onContinue)
  const result = await ended(child)
  stop()
  process.off('exit', onExit)
  process.off('SIGTSTP', onSuspend)
  process.off('SIGCONT', onContinue)
  if (result.error !== undefined) throw result.error
  return result.status ?? 128 + signalNumber(result.signal)
}

const signalNumber = name =>
  ({ SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGTERM: 15 })[name] ?? 0

/** A step of the set-up that was cut off by a signal: no failure to explain, the next run heals it. */
export class Interrupted extends Error {
  constructor(signal) {
    super(`interrupted by ${signal}; the next run goes on from what is whole`)
    this.signal = signal
    this.exitStatus = 128 + signalNumber(signal)
  }
}

/**
 * Runs a step of the set-up: its output is the detail of `task`, line by line, and is kept. Resolves with
 * `{ status, lines, stdout }`; `status` is undefined when the program could not be started. @throws Interrupted
 */
export async function runStep(task, program, args, options = {}) {
  const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  const interruptions = []
  const stop = passSignals(signal => {
    if (signal === 'SIGWINCH' || child.pid === undefined) return
    interruptions.push(signal)
    kill(-child.pid, signal)
  })
  const lines = []
  let stdout = ''
  const take = text => {
    for (const line of text.split(/\r?\n/)) {
      if (line.trim() === '') continue
      lines.push(line)
      if (lines.length > KEPT_LINES) lines.shift()
      task.detail(line)
    }
  }
  child.stdout.setEncoding('utf8').on('data', text => {
    stdout = (stdout + text).slice(-8192)
    take(text)
  })
  child.stderr.setEncoding('utf8').on('data', take)
  const result = await ended(child)
  stop()
  if (interruptions.length > 0) {
    task.failed('interrupted')
    throw new Interrupted(interruptions[0])
  }
  return { status: result.error === undefined ? (result.status ?? 1) : undefined, lines, stdout }
}
