import fs from 'node:fs'
import { SkeinError } from '@skein/core'
import { type Document, type DocumentSet, textBytes } from './documents.ts'
import { DataErrors } from './errors.ts'
import { missing, ownNames, readBytes } from './read-folder.ts'

/**
 * Reads JSONL files: one JSON object a line with the document in `text`; other fields are ignored, blank lines skipped. A
 * document's name is its line number; of several files the file's name stands before it, so that not the same lines of all are held out.
 *
 * @throws SKEIN_DATA_PATH_MISSING, SKEIN_DATA_JSONL_LINE, SKEIN_DATA_NO_DOCUMENTS
 */
export function readJsonl(files: readonly string[]): DocumentSet {
  const documents: Document[] = []
  let skippedEmpty = 0
  const names = files.length === 1 ? undefined : ownNames(files)
  for (const [i, file] of files.entries()) {
    if (fs.statSync(file, { throwIfNoEntry: false })?.isFile() !== true) throw missing(file)
    for (const { number, line } of linesOf(readBytes(file))) {
      if (line.trim() === '') continue
      const bytes = textBytes(Buffer.from(textOf(line, file, number).replaceAll('\0', ''), 'utf8'))
      if (bytes === undefined || bytes.length === 0) skippedEmpty += 1
      else documents.push({ name: names === undefined ? String(number) : `${names[i]}:${number}`, bytes })
    }
  }
  if (documents.length === 0) {
    throw new SkeinError(DataErrors.NO_DOCUMENTS, {
      what: `no document in ${files.join(', ')} (${skippedEmpty} lines with an empty text)`,
      why: 'the file is empty',
      todo: 'give a JSONL file with one {"text": "…"} a line',
      details: { files, skippedEmpty },
    })
  }
  return { documents, skippedBinary: 0, skippedEmpty }
}

/** Lines as strings, decoded one at a time: a file may be longer than the longest string. */
function* linesOf(bytes: Uint8Array): Generator<{ readonly number: number; readonly line: string }> {
  const decoder = new TextDecoder()
  let number = 1
  for (let from = 0; from < bytes.length; number++) {
    const newline = bytes.indexOf(10, from)
    const to = newline === -1 ? bytes.length : newline
    yield { number, line: decoder.decode(bytes.subarray(from, to)) }
    from = to + 1
  }
}

function textOf(line: string, file: string, number: number): string {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (cause) {
    throw badLine(file, number, `is not JSON (${cause instanceof Error ? cause.message : String(cause)})`, line)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw badLine(file, number, 'is not a JSON object', line)
  }
  const text = (value as { readonly text?: unknown }).text
  if (typeof text === 'string') return text
  const keys = Object.keys(value)
  throw badLine(
    file,
    number,
    text === undefined
      ? `has no field \`text\`; it has ${keys.length === 0 ? 'no fields' : keys.map(key => `\`${key}\``).join(', ')}`
      : `has a \`text\` that is no string but ${JSON.stringify(text).slice(0, 40)}`,
    line,
  )
}

function badLine(file: string, number: number, what: string, line: string): SkeinError {
  return new SkeinError(DataErrors.JSONL_LINE, {
    what: `line ${number} of ${file} ${what}`,
    why: `the line begins ${JSON.stringify(line.slice(0, 60))}`,
    todo: 'every line must be an object like {"text": "…"}; correct or remove the line',
    details: { file, line: number },
  })
}
