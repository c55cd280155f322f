import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { readJson, writeJson } from './places.mjs'

// What is already done in a clone, as small JSON stamps in node_modules/.skein: whoever removes node_modules removes them too.
// A stamp holds the fingerprint of what the step was made from, taken before the step ran, and is written after it succeeded.

const stampFile = (root, step) => path.join(root, 'node_modules', '.skein', `${step}.json`)

export const readStamp = (root, step) => readJson(stampFile(root, step))
export const writeStamp = (root, step, value) => writeJson(stampFile(root, step), value)
export const clearStamp = (root, step) => fs.rmSync(stampFile(root, step), { force: true })

/** Folders of the workspace's packages: packages/* and test. */
export function packageFolders(root) {
  const inside = path.join(root, 'packages')
  const names = fs.existsSync(inside) ? fs.readdirSync(inside).sort() : []
  return [...names.map(name => path.join(inside, name)), path.join(root, 'test')].filter(folder =>
    fs.existsSync(path.join(folder, 'package.json')),
  )
}

/** Of the bytes of the lockfile, the workspace file and every package.json. */
export function installFingerprint(root) {
  const files = ['pnpm-lock.yaml', 'pnpm-workspace.yaml', 'package.json'].map(name => path.join(root, name))
  for (const folder of packageFolders(root)) files.push(path.join(folder, 'package.json'))
  const hash = createHash('sha256')
  for (const file of files) hash.update(`${path.relative(root, file)}\0`).update(fs.readFileSync(file))
  return hash.digest('hex')
}

/** Of names, sizes and times of every source file and tsconfig: cheap (one stat each), and any edit or checkout changes it. */
export function sourceFingerprint(root) {
  const hash = createHash('sha256')
  const add = file => {
    const stat = fs.statSync(file, { throwIfNoEntry: false })
    if (stat !== undefined) hash.update(`${path.relative(root, file)}\0${stat.size}\0${stat.mtimeMs}\n`)
  }
  for (const name of ['tsconfig.json', 'tsconfig.base.json']) add(path.join(root, name))
  for (const folder of packageFolders(root)) {
    add(path.join(folder, 'tsconfig.json'))
    const source = path.join(folder, 'src')
    if (!fs.existsSync(source)) continue
    for (const name of fs.readdirSync(source, { recursive: true }).sort()) {
      if (name.endsWith('.ts')) add(path.join(source, name))
    }
  }
  return hash.digest('hex')
}

/** Compiled files whose source is gone; a stale test among them would still be run. Returns how many were removed. */
export function pruneOutput(root) {
  let removed = 0
  for (const folder of packageFolders(root)) {
    const output = path.join(folder, 'dist')
    if (!fs.existsSync(output)) continue
    for (const name of fs.readdirSync(output, { recursive: true })) {
      const stem = /^(.*)\.(?:js|d\.ts)(?:\.map)?$/.exec(name)?.[1]
      if (stem === undefined || fs.existsSync(path.join(folder, 'src', `${stem}.ts`))) continue
      fs.rmSync(path.join(output, name), { force: true })
      removed++
    }
  }
  return removed
}

/** Whether every package that has a tsconfig was compiled at least once here. */
export function hasOutput(root) {
  return packageFolders(root).every(
    folder =>
      !fs.existsSync(path.join(folder, 'tsconfig.json')) || fs.existsSync(path.join(folder, 'dist', '.tsbuildinfo')),
  )
}
