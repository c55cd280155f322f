import fs from 'node:fs'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { type Document, type DocumentSet, isFullOfNuls, textBytes } from './documents.ts'
import { DataErrors } from './errors.ts'
import { globMatcher } from './glob.ts'

export interface FolderOptions {
  /** Patterns of files to take. Default: all. */
  readonly include?: readonly string[]
  /** Patterns of files to leave out. Default: hidden files and folders, and `node_modules` below the folder. */
  readonly exclude?: readonly string[]
}

export const defaultInclude: readonly string[] = ['**']
export const defaultExclude: readonly string[] = ['**/.*', '**/.*/**', '**/node_modules/**']

/**
 * Reads the text files of one or several folders (or single files), each below its folder in the order of UTF-16 code units
 * of the relative path: the same on every machine and in every locale. Links to files are followed, links to folders below
 * the given one are not.
 *
 * @throws SKEIN_DATA_PATH_MISSING, SKEIN_DATA_NO_DOCUMENTS
 */
export function readFolders(folders: readonly string[], options: FolderOptions = {}): DocumentSet {
  const included = globMatcher(options.include ?? defaultInclude)
  const excluded = globMatcher(options.exclude ?? defaultExclude)
  const documents: Document[] = []
  let numFiles = 0
  let skippedBinary = 0
  let skippedEmpty = 0
  const names = ownNames(folders)
  for (const [i, folder] of folders.entries()) {
    for (const { name, file } of filesBelow(folder, excluded)) {
      if (!included(name)) continue
      numFiles += 1
      const bytes = isBinary(file) ? undefined : textBytes(readBytes(file))
      if (bytes === undefined) skippedBinary += 1
      else if (bytes.length === 0) skippedEmpty += 1
      else documents.push({ name: file === folder ? (names[i] as string) : name, bytes })
    }
  }
  if (documents.length === 0) throw noDocuments(folders, options, { numFiles, skippedBinary, skippedEmpty })
  return { documents, skippedBinary, skippedEmpty }
}

interface FoundFile {
  readonly name: string
  readonly file: string
}

function filesBelow(root: string, excluded: (name: string) => boolean): FoundFile[] {
  const stat = fs.statSync(root, { throwIfNoEntry: false })
  if (stat === undefined) throw missing(root)
  if (!stat.isDirectory()) return [{ name: path.basename(root).normalize('NFC'), file: root }]
  const found: FoundFile[] = []
  const walk = (folder: string, prefix: string) => {
    for (const entry of listFolder(folder)) {
      const name = `${prefix}${entry.name}`
      const file = path.join(folder, entry.name)
      if (entry.isDirectory()) {
        // A folder that is left out as a whole is not walked: node_modules can be large.
        if (!excluded(name) && !excluded(`${name}/x`)) walk(file, `${name}/`)
      } else if (!excluded(name) && isFile(entry, file)) found.push({ name: name.normalize('NFC'), file })
    }
  }
  walk(root, '')
  return found.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
}

function isFile(entry: fs.Dirent, file: string): boolean {
  return entry.isFile() || (entry.isSymbolicLink() && fs.statSync(file, { throwIfNoEntry: false })?.isFile() === true)
}

function listFolder(folder: string): fs.Dirent[] {
  try {
    return fs.readdirSync(folder, { withFileTypes: true })
  } catch (cause) {
    throw unreadable(folder, cause)
  }
}

/** Their last parts; those that several have get their number before them. Which documents are held out goes by names. */
export function ownNames(files: readonly string[]): string[] {
  const names = files.map(file => path.basename(file).normalize('NFC'))
  const counts = Map.groupBy(names, name => name)
  return names.map((name, i) => (counts.get(name)?.length === 1 ? name : `${i}/${name}`))
}

/** Whether the beginning of a large file is full of NUL bytes: then the rest is not read to find that out. */
function isBinary(file: string): boolean {
  try {
    if (fs.statSync(file).size <= headBytes) return false
    const head = Buffer.alloc(headBytes)
    const handle = fs.openSync(file, 'r')
    try {
      return isFullOfNuls(head.subarray(0, fs.readSync(handle, head, 0, headBytes, 0)))
    } finally {
      fs.closeSync(handle)
    }
  } catch (cause) {
    throw unreadable(file, cause)
  }
}

export function readBytes(file: string): Uint8Array {
  try {
    return fs.readFileSync(file)
  } catch (cause) {
    throw unreadable(file, cause)
  }
}

export function missing(file: string): SkeinError {
  return new SkeinError(DataErrors.PATH_MISSING, {
    what: `the data path ${file} does not exist`,
    why: 'paths in a job file are relative to the job file, paths on the command line to the current folder',
    todo: 'correct `data` in the job file, or give another folder with --data',
    details: { path: file },
  })
}

const headBytes = 64 * 1024

function unreadable(file: string, cause: unknown): SkeinError {
  const isLarge = (cause as NodeJS.ErrnoException | undefined)?.code === 'ERR_FS_FILE_TOO_LARGE'
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new SkeinError(DataErrors.PATH_MISSING, {
    what: `the data path ${file} cannot be read: ${reason}`,
    todo: isLarge
      ? 'split it into files of less than 2 GiB, or leave it out with `exclude`'
      : 'give this user the right to read it, or leave it out with `exclude`',
    details: { path: file },
    cause,
  })
}

function noDocuments(
  folders: readonly string[],
  options: FolderOptions,
  seen: { readonly numFiles: number; readonly skippedBinary: number; readonly skippedEmpty: number },
): SkeinError {
  const include = options.include ?? defaultInclude
  return new SkeinError(DataErrors.NO_DOCUMENTS, {
    what: `no text document in ${folders.join(', ')}: ${seen.numFiles} files match include ${JSON.stringify(include)}, of which ${seen.skippedBinary} are not UTF-8 text and ${seen.skippedEmpty} are empty`,
    why: 'the folder is empty, holds other kinds of files, or the patterns leave all of them out',
    todo: 'point `data` (or --data) at a folder with text files, or change include and exclude',
    details: { folders, include, exclude: options.exclude ?? defaultExclude, ...seen },
  })
}
