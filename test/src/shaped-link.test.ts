import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'

const script = path.resolve(fileURLToPath(import.meta.url), '../../../scripts/shaped-link.mjs')
const load = async <T>(name: string) =>
  (await import(pathToFileURL(path.resolve(script, '../lib/shaped-link', name)).href)) as T

interface Shape {
  readonly rateMbit: number
  readonly rttMs: number
  readonly queueMs: number
}
const { parseOptions } = await load<{
  readonly parseOptions: (args: string[]) => {
    readonly links: Shape[]
    readonly command: string[]
    readonly hold: boolean
  }
}>('options.mjs')
const { leftoversAmong } = await load<{
  readonly leftoversAmong: (names: string[], startOf: (pid: number) => string | undefined) => string[]
}>('namespaces.mjs')
const { netemOf } = await load<{
  readonly netemOf: (link: { rateMbit: number; delayMs: number; queueMs: number }) => string[]
}>('link.mjs')

describe('the arguments of the shaped link', () => {
  it('give one value for all nodes, or one for each', () => {
    const { links, command } = parseOptions([
      '--nodes',
      '3',
      '--rate-mbit',
      '1000,100,10',
      '--rtt-ms',
      '40',
      '--',
      'ls',
      '-l',
    ])
    expect(links.map(link => link.rateMbit)).toEqual([1000, 100, 10])
    expect(links.map(link => link.rttMs)).toEqual([40, 40, 40])
    expect(command).toEqual(['ls', '-l'])
  })

  it.each([
    [['--nodes', '1', '--hold'], "--nodes is '1'"],
    [['--rate-mbit', '0', '--hold'], "--rate-mbit is '0'"],
    [['--rtt-ms', '', '--hold'], "--rtt-ms is ''"],
    [['--nodes', '4', '--rate-mbit', '1,2', '--hold'], '2 values for 4 nodes'],
    [['--speed', '4', '--hold'], '--speed'],
    [['--hold', '--', 'ls'], 'give one of'],
    [[], 'give one of'],
  ])('%j are refused with the wrong one named', (args, message) => {
    expect(() => parseOptions(args)).toThrow(message)
  })
})

it('a namespace is a leftover when its maker is gone, also where the process id is in use again', () => {
  const running = new Map([[7, '500']])
  const names = ['skein-link-7-500-n0', 'skein-link-7-499-n0', 'skein-link-8-500-hub', 'other-8-500-n0', 'skein-link-8']
  expect(leftoversAmong(names, pid => running.get(pid))).toEqual(['skein-link-7-499-n0', 'skein-link-8-500-hub'])
})

it('netem holds the packets under way beside those in the queue', () => {
  const words = netemOf({ rateMbit: 100, delayMs: 10, queueMs: 50 })
  expect(words).toEqual(['rate', '100mbit', 'delay', '10ms', 'limit', '500'])
})

it('runs a command in each namespace over the link, or says what it lacks', () => {
  const ask = `
    const net = require('node:net')
    const [first] = process.env.SHAPED_LINK_ADDRESSES.split(',')
    if (process.env.SHAPED_LINK_NODE === '0') net.createServer(s => s.end()).listen(99, first, () => setTimeout(() => process.exit(), 1500))
    else setTimeout(() => {
      const start = performance.now()
      net.connect(99, first, () => { console.log('round trip', performance.now() - start); process.exit() })
    }, 700)`
  const run = spawnSync(
    process.execPath,
    [script, '--rtt-ms', '60', '--limit-s', '20', '--', process.execPath, '-e', ask],
    { encoding: 'utf8', timeout: 40_000 },
  )
  if (run.status === 0) expect(Number(/round trip ([\d.]+)/.exec(run.stdout)?.[1])).toBeGreaterThan(59)
  else expect(run.stderr).toMatch(/need Linux and root|cannot be carried|netns/)
  if (process.getuid?.() !== 0) expect(run.stderr).toContain('run this with sudo')
})
