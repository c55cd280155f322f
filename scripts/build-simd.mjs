#!/usr/bin/env node
// Compiles the assembly/ folder of simd and codec to WebAssembly and writes it as base64 into their src/kernels.generated.ts.
// The compiler is fetched by npm at the version below; nobody who only uses the kernels needs it.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const compiler = 'assemblyscript@0.28.20'
const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..')
const folders = ['simd', 'codec'].map(name => path.join(root, 'packages', name))
const outputOf = folder => path.join(folder, 'src', 'kernels.generated.ts')
const shown = folder => path.relative(root, outputOf(folder))
const options = [
  ['-O3', '--noAssert', '--runtime', 'stub', '--use', 'abort='],
  ['--importMemory', '--noExportMemory', '--sharedMemory', '--initialMemory', '1', '--maximumMemory', '65536'],
  ['--enable', 'simd', '--enable', 'threads', '--enable', 'bulk-memory'],
].flat()

const usage = `usage: node scripts/build-simd.mjs [--check]
  (nothing)  compile the kernels and write ${folders.map(shown).join(' and ')}
  --check    compile and compare with what is committed; exit status 1 when it differs`

/** Ids of the sections of a WebAssembly binary. */
function sectionsOf(wasm) {
  const sections = new Set()
  let at = 8
  while (at < wasm.length) {
    sections.add(wasm[at++])
    let size = 0
    for (let shift = 0; ; shift += 7) {
      const byte = wasm[at++]
      size |= (byte & 0x7f) << shift
      if (byte < 0x80) break
    }
    at += size
  }
  return sections
}

function compile(folder) {
  const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-simd-'))
  try {
    const wasmFile = path.join(temporary, 'kernels.wasm')
    execFileSync(
      'npm',
      ['exec', '--yes', `--package=${compiler}`, '--', 'asc', 'assembly/index.ts', '--outFile', wasmFile, ...options],
      { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] },
    )
    const wasm = fs.readFileSync(wasmFile)
    // The memory belongs to the arena: a module that brings data (section 11) or runs at start (section 8) would write into it.
    const sections = sectionsOf(wasm)
    for (const [id, name] of [
      [8, 'a start function'],
      [11, 'a data segment'],
    ]) {
      if (sections.has(id))
        throw new Error(`the compiled kernels have ${name}, which would write into the shared arena`)
    }
    return wasm
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true })
  }
}

function render(wasm) {
  const lines = wasm.toString('base64').match(/.{1,120}/g)
  return `// Made by scripts/build-simd.mjs from assembly/*.ts with ${compiler}; ${wasm.length} bytes. Do not edit.
export const kernelsBase64 = \`
${lines.join('\n')}
\`
`
}

const [flag, ...rest] = process.argv.slice(2)
if (flag === '--help') console.log(usage)
else if ((flag !== undefined && flag !== '--check') || rest.length > 0) {
  console.error(usage)
  process.exitCode = 2
} else {
  for (const folder of folders) {
    const output = outputOf(folder)
    const fresh = render(compile(folder))
    if (flag !== '--check') fs.writeFileSync(output, fresh)
    else if (fs.existsSync(output) && fs.readFileSync(output, 'utf8') === fresh)
      console.log(`${shown(folder)} is up to date`)
    else {
      console.error(`${shown(folder)} differs from its source: run node scripts/build-simd.mjs and commit the result`)
      process.exitCode = 1
    }
  }
}
