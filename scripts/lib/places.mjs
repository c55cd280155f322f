import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** Root of this clone. */
export const root = path.resolve(fileURLToPath(import.meta.url), '../../..')

/** Skein's folder in this user's cache; `userCacheDir` of @skein/device is the same rule for what runs after the build. */
export function cacheDir(env = process.env) {
  const xdg = env.XDG_CACHE_HOME
  const base = xdg !== undefined && path.isAbsolute(xdg) ? xdg : path.join(env.HOME ?? os.homedir(), '.cache')
  return path.join(base, 'skein')
}

/** A JSON file's value, or undefined where it is missing or cut short: a stamp that cannot be read was never written. */
export function readJson(file) {
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

/** Writes a small JSON file whole or not at all. */
export function writeJson(file, value) {
  fs.mkdirSync(path.dirname(file), { recursive: true })
  const temporary = `${file}.${process.pid}.tmp`
  fs.writeFileSync(temporary, `${JSON.stringify(value)}\n`)
  fs.renameSync(temporary, file)
}
