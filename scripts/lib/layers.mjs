import fs from 'node:fs'
import path from 'node:path'
import { readJson } from './places.mjs'
import { packageFolders } from './stamps.mjs'

/** Layer of packages that are never shipped; they may import anything. */
const DEV_LAYER = 9

/**
 * The workspace's packages: name, layer, workspace dependencies (`uses`, and `devUses` for tests), tsconfig references,
 * and imports as `{ file, name, test }`.
 */
export function readPackages(root) {
  const folders = packageFolders(root)
  const manifests = folders.map(folder => readJson(path.join(folder, 'package.json')))
  const names = new Set(manifests.map(manifest => manifest.name))
  return folders.map((folder, i) => {
    const manifest = manifests[i]
    const known = list => Object.keys(list ?? {}).filter(name => names.has(name))
    const references = readJson(path.join(folder, 'tsconfig.json'))?.references ?? []
    return {
      name: manifest.name,
      layer: manifest.skein?.layer ?? DEV_LAYER,
      uses: known(manifest.dependencies),
      devUses: known(manifest.devDependencies),
      references: references.map(one => readJson(path.join(folder, one.path, 'package.json'))?.name ?? one.path),
      imports: importsOf(folder, names),
    }
  })
}

function importsOf(folder, names) {
  const source = path.join(folder, 'src')
  const found = []
  for (const file of fs.existsSync(source) ? fs.readdirSync(source, { recursive: true }) : []) {
    if (!file.endsWith('.ts')) continue
    const at = path.join(source, file)
    for (const specifier of specifiers(fs.readFileSync(at, 'utf8'))) {
      const name = specifier.startsWith('.') ? outside(specifier, at, source) : packageName(specifier)
      if (name !== undefined && (names.has(name) || specifier.startsWith('.'))) {
        found.push({
          file: path.join(path.basename(folder), 'src', file),
          name,
          test: /\.test\.(?:\w+\.)?ts$/.test(file),
        })
      }
    }
  }
  return found
}

/** Module names that a TypeScript text imports or re-exports; comment lines do not count. */
export function specifiers(text) {
  const code = text.replace(/^\s*(?:\*|\/\/|\/\*).*$/gm, '')
  return [...code.matchAll(/\b(?:from|import)\s*\(?\s*['"]([^'"\n]+)['"]/g)].map(match => match[1])
}

const packageName = specifier =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')

/** The specifier itself if it leaves the package's src folder. */
const outside = (specifier, file, source) =>
  path.resolve(path.dirname(file), specifier).startsWith(source + path.sep) ? undefined : specifier

/** Every breach of the order, as a sentence that names both packages. */
export function layerProblems(packages) {
  const byName = new Map(packages.map(one => [one.name, one]))
  const problems = []
  for (const one of packages) {
    const allowed = new Set([...one.uses, ...one.devUses])
    for (const { file, name, test } of one.imports) {
      if (name === one.name) continue
      if (name.startsWith('.')) problems.push(`${file} imports ${name}, outside its package`)
      else if (test ? !allowed.has(name) : !one.uses.includes(name))
        problems.push(`${file} imports ${name}, which package.json of ${one.name} does not list`)
    }
    for (const name of allowed)
      if (!one.references.includes(name))
        problems.push(`${one.name} lists ${name} in package.json, but tsconfig.json does not reference it`)
    for (const name of one.references)
      if (!allowed.has(name))
        problems.push(`${one.name} references ${name} in tsconfig.json, but package.json does not list it`)
    for (const name of one.uses) {
      const layer = byName.get(name).layer
      if (layer > one.layer) problems.push(`${one.name} (layer ${one.layer}) imports upwards: ${name} (layer ${layer})`)
    }
  }
  const circle = findCircle(byName)
  if (circle !== undefined) problems.push(`a circle: ${circle.join(' → ')}`)
  return problems
}

function findCircle(byName) {
  const done = new Set()
  const visit = (name, trail) => {
    if (trail.includes(name)) return [...trail.slice(trail.indexOf(name)), name]
    if (done.has(name)) return undefined
    for (const next of byName.get(name)?.uses ?? []) {
      const circle = visit(next, [...trail, name])
      if (circle !== undefined) return circle
    }
    done.add(name)
    return undefined
  }
  for (const name of byName.keys()) {
    const circle = visit(name, [])
    if (circle !== undefined) return circle
  }
  return undefined
}
