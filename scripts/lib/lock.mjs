import fs from 'node:fs'
import path from 'node:path'

const POLL_EVERY_MS = 200

/**
 * Runs `work` while holding a lock file made exclusively, so that two first starts in one clone do not install over each other.
 * The lock of a process that is gone is taken over. `onWait(pid)` is called once when another holds it.
 */
export async function withLock(file, work, onWait = () => {}) {
  fs.mkdirSync(path.dirname(file), { recursive: true })
  for (let told = false; !tryCreate(file); ) {
    const holder = Number(read(file))
    if (!isAlive(holder)) {
      fs.rmSync(file, { force: true })
      continue
    }
    if (!told) onWait(holder)
    told = true
    await new Promise(resolve => setTimeout(resolve, POLL_EVERY_MS))
  }
  try {
    return await work()
  } finally {
    if (read(file) === String(process.pid)) fs.rmSync(file, { force: true })
  }
}

/** By a link to a whole file: no one ever reads a lock that is still empty. */
function tryCreate(file) {
  const whole = `${file}.${process.pid}`
  fs.writeFileSync(whole, String(process.pid))
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
