import fs from 'node:fs'
import path from 'node:path'
import { temporaryFolder } from '@skein/testkit'
import { expect, test } from 'vitest'
import { readFolders } from './read-folder.ts'
import { readJsonl } from './read-jsonl.ts'
import { splitDocuments } from './split.ts'

function folderWith(files: Record<string, string | Uint8Array>) {
  const folder = temporaryFolder('data')
  for (const [name, content] of Object.entries(files)) {
    const file = path.join(folder.path, name)
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(file, content)
  }
  return folder
}

const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8')

test('documents come in code unit order of their relative path, whatever the locale', () => {
  using folder = folderWith({
    'b.txt': 'b',
    'B.txt': 'B',
    'ä.txt': 'ä',
    'a/z.txt': 'z',
    'a-b.txt': 'ab',
    'Z/a.txt': 'Za',
  })
  expect(readFolders([folder.path]).documents.map(d => d.name)).toEqual([
    'B.txt',
    'Z/a.txt',
    'a-b.txt',
    'a/z.txt',
    'b.txt',
    'ä.txt',
  ])
})

test('several folders follow each other in the order given', () => {
  using first = folderWith({ 'z.txt': '1' })
  using second = folderWith({ 'a.txt': '2' })
  expect(readFolders([first.path, second.path]).documents.map(d => d.name)).toEqual(['z.txt', 'a.txt'])
})

test('binary files are counted and left out, NUL bytes and the byte order mark are dropped', () => {
  using folder = folderWith({
    'image.png': Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0xff, 0xfe),
    'utf16.txt': Buffer.from('hello', 'utf16le'),
    'nul.txt': `${'text '.repeat(100)}\0end`,
    'bom.txt': '\ufeffmark',
    'empty.txt': '',
  })
  const set = readFolders([folder.path])
  expect(set.documents.map(d => textOf(d.bytes))).toEqual(['mark', `${'text '.repeat(100)}end`])
  expect(set).toMatchObject({ skippedBinary: 2, skippedEmpty: 1 })
})

test('hidden files and node_modules are left out unless the job says otherwise', () => {
  using folder = folderWith({
    '.git/config': 'g',
    '.env': 'e',
    'node_modules/p/readme.md': 'r',
    'a.md': 'a',
    'b.ts': 'b',
  })
  expect(readFolders([folder.path]).documents.map(d => d.name)).toEqual(['a.md', 'b.ts'])
  expect(readFolders([folder.path], { include: ['*.md'], exclude: [] }).documents.map(d => d.name)).toEqual([
    'a.md',
    'node_modules/p/readme.md',
  ])
})

test('links to files are read, links to folders are not followed round in circles', () => {
  using folder = folderWith({ 'a/real.txt': 'text' })
  fs.symlinkSync(folder.path, path.join(folder.path, 'a', 'loop'))
  fs.symlinkSync(path.join(folder.path, 'a', 'real.txt'), path.join(folder.path, 'link.txt'))
  expect(readFolders([folder.path]).documents.map(d => d.name)).toEqual(['a/real.txt', 'link.txt'])
})

test('a missing folder is named with its path', () => {
  expect(() => readFolders(['/nowhere/at/all'])).toThrow(
    expect.objectContaining({ code: 'SKEIN_DATA_PATH_MISSING', message: expect.stringContaining('/nowhere/at/all') }),
  )
})

test('a folder without text says what it looked at', () => {
  using folder = folderWith({ 'image.bin': Uint8Array.of(0xff, 0xfe, 0), 'empty.txt': '' })
  expect(() => readFolders([folder.path])).toThrow(
    expect.objectContaining({
      code: 'SKEIN_DATA_NO_DOCUMENTS',
      message: expect.stringMatching(/2 files match.*1 are not UTF-8 text and 1 are empty/),
    }),
  )
})

test('JSONL documents are the text fields; blank lines and other fields do not matter', () => {
  using folder = folderWith({ 'a.jsonl': '{"text":"one","id":1}\n\n{"text":"zw\\u00f6lf\\u0000"}\r\n{"text":""}' })
  const set = readJsonl([path.join(folder.path, 'a.jsonl')])
  expect(set.documents.map(d => [d.name, textOf(d.bytes)])).toEqual([
    ['1', 'one'],
    ['3', 'zwölf'],
  ])
  expect(set.skippedEmpty).toBe(1)
})

test('documents of several files have names of their own: not the same lines of all are held out', () => {
  const one = '{"text":"one"}\n'
  const names = Array.from({ length: 50 }, (_, i) => `${i}.jsonl`)
  using folder = folderWith(Object.fromEntries([...names, 'other/0.jsonl'].map(name => [name, one])))
  const files = [...names, 'other/0.jsonl'].map(name => path.join(folder.path, name))
  const { documents } = readJsonl(files)
  expect(new Set(documents.map(({ name }) => name)).size).toBe(51)
  const { val } = splitDocuments(documents, { heldOut: 0.05, splitSeed: 0 })
  expect(val.length).toBeLessThan(15)
  const folders = readFolders(['0.jsonl', '1.jsonl', 'other/0.jsonl'].map(name => path.join(folder.path, name)))
  expect(folders.documents.map(({ name }) => name)).toEqual(['0/0.jsonl', '1.jsonl', '2/0.jsonl'])
})

test('of a large file that begins with NUL bytes no more is read', () => {
  using folder = folderWith({ 'a.txt': 'text' })
  // Sparse: 5 GB of nothing, which could not be read whole.
  fs.writeFileSync(path.join(folder.path, 'b.tar'), '')
  fs.truncateSync(path.join(folder.path, 'b.tar'), 5e9)
  const { documents, skippedBinary } = readFolders([folder.path])
  expect([documents.map(({ name }) => name), skippedBinary]).toEqual([['a.txt'], 1])
})

test.each([
  ['{"text":"a"}\n{"body":"b"}\n', /line 2 of .*a\.jsonl has no field `text`; it has `body`/],
  ['{"text":"a"}\n\n[1]\n', /line 3 of .*a\.jsonl is not a JSON object/],
  ['{"text":"a"}\n{"text":"b"', /line 2 of .*a\.jsonl is not JSON/],
  ['{"text":7}\n', /line 1 of .*a\.jsonl has a `text` that is no string but 7/],
])('a JSONL line without text is named by number: %j', (content, message) => {
  using folder = folderWith({ 'a.jsonl': content })
  expect(() => readJsonl([path.join(folder.path, 'a.jsonl')])).toThrow(
    expect.objectContaining({ code: 'SKEIN_DATA_JSONL_LINE', message: expect.stringMatching(message) }),
  )
})
