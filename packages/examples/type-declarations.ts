import fs from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

/**
 * Folders of real text that every install has: TypeScript's type declarations with their doc comments, and Node's. About 5 MB,
 * the same wherever the lockfile is. Where neither is there, all of node_modules (its declarations are taken).
 */
export function typeDeclarations(): { readonly node: string; readonly all: readonly string[] } {
  const here = createRequire(import.meta.url)
  const node = folderOf(here, '@types/node')
  const typescript = folderOf(here, 'typescript')
  // TypeScript 7 keeps its libraries in a package for each platform, earlier ones in their own.
  const platform = `@typescript/typescript-${process.platform}-${process.arch}`
  const candidates = [
    typescript === undefined ? undefined : folderOf(createRequire(path.join(typescript, 'package.json')), platform),
    typescript,
  ]
  const library = candidates.map(folder => folder && path.join(folder, 'lib')).find(hasLibraries)
  const found = [library, node].filter(folder => folder !== undefined)
  const fallback = nodeModules()
  return { node: node ?? fallback, all: found.length > 0 ? found : [fallback] }
}

function folderOf(require: NodeJS.Require, name: string): string | undefined {
  try {
    return fs.realpathSync(path.dirname(require.resolve(`${name}/package.json`)))
  } catch {
    return undefined
  }
}

function hasLibraries(folder: string | undefined): folder is string {
  return folder !== undefined && fs.existsSync(path.join(folder, 'lib.es5.d.ts'))
}

/** The outermost node_modules above this file. */
function nodeModules(): string {
  let found = path.join(import.meta.dirname, 'node_modules')
  for (let folder = import.meta.dirname; path.dirname(folder) !== folder; folder = path.dirname(folder)) {
    const candidate = path.join(folder, 'node_modules')
    if (fs.existsSync(candidate)) found = candidate
  }
  return found
}
