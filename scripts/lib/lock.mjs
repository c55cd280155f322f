import fs from 'node:fs'
import path from 'node:path'

const POLL_EVERY_MS = 200

/**
 * Runs `work` while holding a lock file made exclusively, so that two first starts in one clone do not install over each other.
 * The lock of a process that is gone is taken over, also where another process has its id by now. `onWait(pid)` is called once when another
 * holds it.
 */
export async function withLock(file, work, onWait = () => {}) {
  fs.mkdirSync(path.dirname(file), { recursive: true })
  for (let told = false; !tryCreate(file); ) {
    const holder = read(file)
    const [pid, startedAt = ''] = holder.split(' ')
    if (!isAlive(Number(pid)) || (startedAt !== '' && startedAt !== startOf(pid))) {
      takeAway(file, holder)
      continue
    }
    if (!told) onWait(Number(pid))
    told = true
    await new Promise(resolve => setTimeout(resolve, POLL_EVERY_MS))
  }
  try {
    return await work()
  } finally {
    if (read(file) === ourselves()) fs.rmSync(file, { force: true })
  }
}

/** Process id and, where the system tells, when it started, in clock ticks since the machine did. */
const ourselves = () => `${process.pid} ${startOf(process.pid)}`.trim()

function startOf(pid) {
  // Behind the name of the program, which may hold anything.
  return read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ')[19] ?? ''
}

/** Of two that find the same stale lock, the second must not take away what the first has put there. */
function takeAway(file, stale) {
  const aside = `${file}.${process.pid}.stale`
  try {
    fs.renameSync(file, aside)
  } catch (error) {
    if (error.code === 'ENOENT') return
    throw error
  }
  try {
    if (read(aside) !== stale) fs.linkSync(aside, file)
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
  } finally {
    fs.rmSync(aside, { force: true })
  }
}

/** By a link to a whole file: no one ever reads a lock that is still empty. */
function tryCreate(file) {
  const whole = `${file}.${process.pid}`
  fs.writeFileSync(whole, ourselves())
  try {
    fs.linkSync(whole, file)
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  } finally {
    fs.rmSync(whole)
  }
}

function read(file) {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** Whether a process of this machine other than ours has this id. */
export function isAlive(pid) {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}
