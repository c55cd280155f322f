import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'

// The scripts run before anything is installed or compiled, so they are plain JavaScript without types: each is imported by its path.
const scripts = path.resolve(fileURLToPath(import.meta.url), '../../../scripts/lib')
const load = async <T>(name: string) => (await import(pathToFileURL(path.join(scripts, name)).href)) as T

interface Task {
  detail(text: string): void
}
const silentTask: Task = { detail: () => {} }

const { inRange } = await load<{ inRange: (version: string, range: string) => boolean }>('node-version.mjs')
const stamps = await load<{
  readStamp(root: string, step: string): unknown
  writeStamp(root: string, step: string, value: unknown): void
  installFingerprint(root: string): string
  sourceFingerprint(root: string): string
  pruneOutput(root: string): number
  hasOutput(root: string): boolean
}>('stamps.mjs')
const tools = await load<{
  SetupError: new () => Error
  findTool(cache: string, name: string, version: string): string | undefined
  installTool(task: Task, options: object): Promise<string>
}>('npm-tools.mjs')
const { withLock } = await load<{ withLock: (file: string, work: () => Promise<void>) => Promise<void> }>('lock.mjs')
const { createBoard } = await load<{
  createBoard: (sink: object) => {
    start(title: string): Task & { done(text?: string): void; failed(text: string): void }
  }
}>('board.mjs')
const report = await load<{
  readReport(file: string): { passed: number; failed: string[]; skipped: string[] } | undefined
  reportLines(counts: object): string[]
  testStatus(status: number, counts: object | undefined): number
}>('test-report.mjs')
const layers = await load<{ specifiers(text: string): string[]; layerProblems(packages: object[]): string[] }>(
  'layers.mjs',
)

const write = (file: string, text: string) => {
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, text)
}

describe('the range of supported Node versions', () => {
  it.each([
    ['22.22.0', true],
    ['22.21.1', false],
    ['23.0.0', false],
    ['24.0.0', true],
    ['25.9.9', false],
    ['26.0.0', true],
    ['30.1.2', true],
    ['18.20.0', false],
  ])('%s: %s', (version, supported) => {
    expect(inRange(version, '^22.22 || ^24 || >=26')).toBe(supported)
  })

  it('refuses a range it cannot read instead of guessing', () => {
    expect(() => inRange('24.0.0', '~24.1 || latest')).toThrow('~24.1')
  })
})

describe('the stamps of what is done', () => {
  const clone = (root: string) => {
    write(path.join(root, 'package.json'), '{}')
    write(path.join(root, 'pnpm-lock.yaml'), 'lock')
    write(path.join(root, 'pnpm-workspace.yaml'), 'packages')
    write(path.join(root, 'tsconfig.json'), '{}')
    write(path.join(root, 'packages/a/package.json'), '{}')
    write(path.join(root, 'packages/a/tsconfig.json'), '{}')
    write(path.join(root, 'packages/a/src/one.ts'), 'export {}')
  }

  it('change with the lockfile and any package.json, and with nothing else', () => {
    using folder = temporaryFolder('stamps')
    clone(folder.path)
    const before = stamps.installFingerprint(folder.path)
    write(path.join(folder.path, 'packages/a/src/one.ts'), 'export const x = 1')
    expect(stamps.installFingerprint(folder.path)).toBe(before)
    write(path.join(folder.path, 'packages/a/package.json'), '{"version":"2"}')
    const after = stamps.installFingerprint(folder.path)
    expect(after).not.toBe(before)
    write(path.join(folder.path, 'pnpm-lock.yaml'), 'lock 2')
    expect(stamps.installFingerprint(folder.path)).not.toBe(after)
  })

  it('change with every source file that is edited, added or removed', () => {
    using folder = temporaryFolder('stamps')
    clone(folder.path)
    const seen = [stamps.sourceFingerprint(folder.path)]
    const next = () => seen.push(stamps.sourceFingerprint(folder.path))
    write(path.join(folder.path, 'packages/a/src/one.ts'), 'export const x = 1')
    next()
    write(path.join(folder.path, 'packages/a/src/deep/two.ts'), 'export {}')
    next()
    fs.rmSync(path.join(folder.path, 'packages/a/src/one.ts'))
    next()
    expect(new Set(seen).size).toBe(4)
    expect(stamps.sourceFingerprint(folder.path)).toBe(seen[3])
  })

  it('that were cut short count as not done', () => {
    using folder = temporaryFolder('stamps')
    stamps.writeStamp(folder.path, 'install', { fingerprint: 'f' })
    expect(stamps.readStamp(folder.path, 'install')).toEqual({ fingerprint: 'f' })
    write(path.join(folder.path, 'node_modules/.skein/install.json'), '{"fingerp')
    expect(stamps.readStamp(folder.path, 'install')).toBeUndefined()
  })

  it('do not stand in for output that was removed', () => {
    using folder = temporaryFolder('stamps')
    clone(folder.path)
    expect(stamps.hasOutput(folder.path)).toBe(false)
    write(path.join(folder.path, 'packages/a/dist/.tsbuildinfo'), '{}')
    expect(stamps.hasOutput(folder.path)).toBe(true)
  })

  it('come with output whose every file has its source', () => {
    using folder = temporaryFolder('stamps')
    clone(folder.path)
    const dist = path.join(folder.path, 'packages/a/dist')
    const kept = ['.tsbuildinfo', 'one.js', 'one.js.map', 'one.d.ts', 'one.d.ts.map', 'kernels.wasm']
    const stale = ['gone.test.js', 'gone.test.d.ts', 'deep/gone.js', 'deep/gone.js.map']
    for (const name of [...kept, ...stale]) write(path.join(dist, name), '')
    expect(stamps.pruneOutput(folder.path)).toBe(stale.length)
    expect(kept.filter(name => !fs.existsSync(path.join(dist, name)))).toEqual([])
    expect(stale.filter(name => fs.existsSync(path.join(dist, name)))).toEqual([])
  })
})

describe('a tool from npm', () => {
  /** An npm that runs `script` with `$into` set to the prefix and `$spec` to the package. */
  const fakeNpm = (folder: string, script: string) => {
    const file = path.join(folder, 'npm')
    const find = 'while [ "$1" != --prefix ]; do shift; done; into=$2; for spec; do :; done'
    fs.writeFileSync(file, `#!/bin/sh\n${find}\n${script}\n`, { mode: 0o755 })
    return [file]
  }
  const options = (folder: string, npm: readonly string[]) => ({
    cache: path.join(folder, 'cache'),
    name: 'tool',
    version: '1.0.0',
    candidates: [
      { spec: 'tool@1.0.0', entry: 'bin/tool' },
      { spec: 'tool-linux@1.0.0', entry: 'linux/tool' },
    ],
    works: (entry: string) => fs.existsSync(entry) && fs.readFileSync(entry, 'utf8') === 'works\n',
    npm,
  })
  const good = 'mkdir -p "$into/bin" && echo works > "$into/bin/tool"'
  const inCache = (folder: string) => fs.readdirSync(path.join(folder, 'cache/tool'))

  it('is installed once, tried and found again', async () => {
    using folder = temporaryFolder('tool')
    const entry = await tools.installTool(silentTask, options(folder.path, fakeNpm(folder.path, good)))
    expect(entry).toBe(path.join(folder.path, 'cache/tool/1.0.0/bin/tool'))
    expect(tools.findTool(path.join(folder.path, 'cache'), 'tool', '1.0.0')).toBe(entry)
    expect(inCache(folder.path)).toEqual(['1.0.0'])
  })

  it('that was half written is not found, and is replaced together with what the dead set-up left', async () => {
    using folder = temporaryFolder('tool')
    const dead = spawnSync(process.execPath, ['-e', '']).pid
    write(path.join(folder.path, 'cache/tool/1.0.0/bin/tool'), 'half')
    write(path.join(folder.path, `cache/tool/.1.0.0-${dead}-abc/bin/tool`), 'half')
    expect(tools.findTool(path.join(folder.path, 'cache'), 'tool', '1.0.0')).toBeUndefined()
    const entry = await tools.installTool(silentTask, options(folder.path, fakeNpm(folder.path, good)))
    expect(fs.readFileSync(entry, 'utf8')).toBe('works\n')
    expect(inCache(folder.path)).toEqual(['1.0.0'])
  })

  it('whose install script did not run is taken from the package of the platform', async () => {
    using folder = temporaryFolder('tool')
    const npm = fakeNpm(
      folder.path,
      'case $spec in tool@*) ;; tool-linux@*) mkdir -p "$into/linux" && echo works > "$into/linux/tool" ;; esac',
    )
    const entry = await tools.installTool(silentTask, options(folder.path, npm))
    expect(entry).toBe(path.join(folder.path, 'cache/tool/1.0.0/linux/tool'))
  })

  it('that cannot be had is an error that quotes npm, and leaves nothing behind', async () => {
    using folder = temporaryFolder('tool')
    const npm = fakeNpm(folder.path, 'echo "npm error code E403" >&2; exit 1')
    const installing = tools.installTool(silentTask, options(folder.path, npm))
    await expect(installing).rejects.toThrow(/tool 1\.0\.0[\s\S]*E403[\s\S]*npm ping/)
    expect(inCache(folder.path)).toEqual([])
  })

  it('without npm is an error that says how to get npm', async () => {
    using folder = temporaryFolder('tool')
    const installing = tools.installTool(silentTask, options(folder.path, [path.join(folder.path, 'no-npm')]))
    await expect(installing).rejects.toThrow('apt-get install npm')
    await expect(installing).rejects.toBeInstanceOf(tools.SetupError)
  })
})

describe('the lock of a clone', () => {
  it('lets one set-up in at a time and is gone afterwards', async () => {
    using folder = temporaryFolder('lock')
    const file = path.join(folder.path, 'lock')
    await withLock(file, async () => expect(fs.readFileSync(file, 'utf8').split(' ')[0]).toBe(String(process.pid)))
    expect(fs.existsSync(file)).toBe(false)
  })

  it('of a process that is gone is taken over', async () => {
    using folder = temporaryFolder('lock')
    const file = path.join(folder.path, 'lock')
    fs.writeFileSync(file, String(spawnSync(process.execPath, ['-e', '']).pid))
    let ran = false
    await withLock(file, async () => {
      ran = true
    })
    expect(ran).toBe(true)
  })

  it('of a process whose id another one has by now is taken over', async () => {
    using folder = temporaryFolder('lock')
    const file = path.join(folder.path, 'lock')
    // The first process of the machine is alive, and was not started at that time.
    fs.writeFileSync(file, '1 1234567890')
    let ran = false
    await withLock(file, async () => {
      ran = true
    })
    expect(ran).toBe(true)
    expect(fs.readdirSync(folder.path)).toEqual([])
  })
})

describe('set-up progress', () => {
  it('in a pipe is plain lines with a beginning and an end, without one for every detail', () => {
    const out: string[] = []
    const task = createBoard({ write: (text: string) => out.push(text) }).start('packages')
    for (let i = 0; i < 50; i++) task.detail(`file ${i}`)
    task.done('12 MB')
    task.done('again')
    expect(out[0]).toBe('skein: packages …\n')
    expect(out.at(-1)).toMatch(/^skein: packages: done in \d+\.\d s \(12 MB\)\n$/)
    expect(out.length).toBeLessThan(10)
  })
})

describe('the end of a test run', () => {
  const suite = (name: string, status: string, tests: [string, string][]) => ({
    name,
    status,
    assertionResults: tests.map(([fullName, one]) => ({ fullName, status: one })),
  })
  const counted = (folder: string, results: object[]) => {
    const file = path.join(folder, 'report.json')
    fs.writeFileSync(file, JSON.stringify({ testResults: results }))
    return report.readReport(file)
  }

  it('counts the report, and names what was skipped and what failed', () => {
    using folder = temporaryFolder('report')
    const tests: [string, string][] = [
      ['a', 'passed'],
      ['b', 'skipped'],
      ['c', 'todo'],
      ['d', 'failed'],
      ['e', 'passed'],
    ]
    const counts = counted(folder.path, [suite('one', 'failed', tests)])
    if (counts === undefined) throw new Error('no counts')
    const lines = report.reportLines(counts)
    expect(lines.at(-1)).toBe('2 passed, 1 failed, 2 skipped')
    for (const name of ['b', 'c', 'd']) expect(lines).toContain(`  - ${name}`)
    expect(report.testStatus(0, counts)).toBe(1)
  })

  it('counts a file that could not be loaded as a failure', () => {
    using folder = temporaryFolder('report')
    const counts = counted(folder.path, [
      suite('whole', 'passed', [['a', 'passed']]),
      suite('broken.test.js', 'failed', []),
    ])
    expect(counts).toEqual({ passed: 1, failed: ['broken.test.js'], skipped: [] })
  })

  it('is a failure without a report, with nothing passed, or when vitest says so', () => {
    expect(report.readReport('/nowhere/report.json')).toBeUndefined()
    expect(report.testStatus(0, undefined)).toBe(1)
    expect(report.testStatus(0, { passed: 0, failed: [], skipped: [] })).toBe(1)
    expect(report.testStatus(3, { passed: 5, failed: [], skipped: [] })).toBe(3)
    expect(report.testStatus(0, { passed: 5, failed: [], skipped: ['x'] })).toBe(0)
  })
})

describe('the order of the packages', () => {
  const pack = (name: string, layer: number, uses: string[], more: object = {}) => {
    return { name, layer, uses, devUses: [], references: uses, imports: [], ...more }
  }

  it('finds imports and re-exports, and no comment', () => {
    const text = [
      "import { a } from '@own/core'",
      "export {\n  b,\n} from '@own/wire'",
      "const c = await import('@own/plan')",
      " * import { d } from '@own/device'",
      "// import '@own/model'",
      "import './own.ts'",
    ].join('\n')
    expect(layers.specifiers(text)).toEqual(['@own/core', '@own/wire', '@own/plan', './own.ts'])
  })

  it('allows what points down, and a neighbour that package.json names', () => {
    const imports = [{ file: 'c.ts', name: 'a', test: false }]
    expect(
      layers.layerProblems([pack('a', 0, []), pack('b', 2, ['a']), pack('c', 2, ['b', 'a'], { imports })]),
    ).toEqual([])
  })

  it.each([
    ['an import upwards', [pack('a', 0, ['b']), pack('b', 2, [])], /a \(layer 0\) imports upwards: b \(layer 2\)/],
    ['a circle in a layer', [pack('a', 2, ['b']), pack('b', 2, ['a'])], /circle: a → b → a/],
    [
      'an import that package.json does not list',
      [pack('a', 0, []), pack('b', 2, [], { imports: [{ file: 'b/x.ts', name: 'a', test: false }] })],
      /b\/x\.ts imports a, which package\.json of b does not list/,
    ],
    [
      'a test helper in code that ships',
      [
        pack('a', 9, []),
        pack('b', 2, [], { devUses: ['a'], references: ['a'], imports: [{ file: 'b/x.ts', name: 'a', test: false }] }),
      ],
      /b\/x\.ts imports a/,
    ],
    [
      'a missing reference',
      [pack('a', 0, []), pack('b', 2, ['a'], { references: [] })],
      /tsconfig\.json does not reference it/,
    ],
    [
      'a stray reference',
      [pack('a', 0, []), pack('b', 2, [], { references: ['a'] })],
      /package\.json does not list it/,
    ],
  ])('refuses %s', (_, packages, message) => {
    const problems = layers.layerProblems(packages)
    expect(problems).toHaveLength(1)
    expect(problems[0]).toMatch(message)
  })
})

describe('the program behind the bootstrap', () => {
  /** Starts a process that runs `program` with runProgram; it prints what the program prints, and ends as it does. */
  const start = (program: string) => {
    const main = `
      const { runProgram } = await import(${JSON.stringify(pathToFileURL(path.join(scripts, 'run.mjs')).href)})
      process.exitCode = await runProgram(process.execPath, ['-e', ${JSON.stringify(program)}])`
    const child = spawn(process.execPath, ['--input-type=module', '-e', main], { stdio: ['ignore', 'pipe', 'inherit'] })
    let out = ''
    const waiting: { text: string; go: () => void }[] = []
    child.stdout.setEncoding('utf8').on('data', text => {
      out += text as string
      for (const one of waiting) if (out.includes(one.text)) one.go()
    })
    const said = (text: string) => new Promise<void>(go => (out.includes(text) ? go() : waiting.push({ text, go })))
    const ended = new Promise<number | null>(resolve => child.once('close', resolve))
    return { child, said, ended, out: () => out }
  }
  const counting = `
    let n = 0
    process.on('SIGINT', () => { n++; console.log('int ' + n) })
    process.on('SIGTERM', () => { console.log('got ' + n); process.exit(7) })
    setInterval(() => {}, 1000)
    console.log('ready')`

  it('gets one interrupt for two that come together, as under npm, and gives the exit status', async () => {
    const run = start(counting)
    await run.said('ready')
    run.child.kill('SIGINT')
    run.child.kill('SIGINT')
    await run.said('int 1')
    run.child.kill('SIGTERM')
    expect(await run.ended).toBe(7)
    expect(run.out()).toBe('ready\nint 1\ngot 1\n')
  })

  it('that dies by a signal ends the bootstrap with 128 and its number', async () => {
    const run = start("console.log('ready'); setInterval(() => {}, 1000)")
    await run.said('ready')
    run.child.kill('SIGTERM')
    expect(await run.ended).toBe(143)
  })
})
