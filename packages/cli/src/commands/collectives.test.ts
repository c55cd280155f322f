import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { runCommandLine } from '../program.ts'

let out = ''
beforeEach(() => {
  out = ''
  vi.spyOn(process.stdout, 'write').mockImplementation(text => {
    out += String(text)
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation(text => {
    out += String(text)
    return true
  })
})
afterEach(() => vi.restoreAllMocks())

const explain = (...args: string[]) => runCommandLine(['collectives', 'explain', ...args])

test('names the quickest algorithm, with every other beside it, and draws it', async () => {
  expect(await explain('--ranks', '6', '--bytes', '4MiB', '--mbit', '100', '--latency-ms', '20')).toBe(0)
  expect(out).toMatch(/all-reduce of 4\.0 MiB among 6 ranks; links of 100 Mbit\/s, 20 ms one way/)
  for (const name of ['ring', 'direct', 'tree', 'double-tree', 'halving-doubling', 'recursive-doubling', 'star']) {
    expect(out).toContain(name)
  }
  expect(out).toMatch(/→ direct .* ms/)
  // Six ranks, a line for what each sends and one for what it receives.
  expect(out.match(/^\d out /gm)).toHaveLength(6)
})

test('gives the same as one object with --json, and knows the hosts', async () => {
  expect(await explain('--ranks', '8', '--bytes', '65536', '--hosts', '2', '--json')).toBe(0)
  const answer = JSON.parse(out) as { algorithm: string; algorithms: { algorithm: string; simulatedMs: number }[] }
  const names = answer.algorithms.map(({ algorithm }) => algorithm)
  expect(names).toContain('hierarchical')
  expect(names[0]).toBe(answer.algorithm)
  for (const { simulatedMs } of answer.algorithms) expect(simulatedMs).toBeGreaterThan(0)
})

test('draws any kind and algorithm, also as SVG', async () => {
  expect(
    await explain('--ranks', '4', '--bytes', '1KiB', '--kind', 'all-to-all', '--algorithm', 'bruck', '--svg'),
  ).toBe(0)
  expect(out).toMatch(/^<svg /)
})

test.each([
  [['--ranks', '4', '--bytes', '4 XB'], /--bytes is "4 XB".*4MiB/su],
  [['--ranks', '0', '--bytes', '4'], /--ranks is "0"/],
  [['--ranks', '4', '--bytes', '4', '--kind', 'all-reduc'], /--kind is "all-reduc".*all-reduce/su],
  [['--ranks', '4', '--bytes', '4', '--algorithm', 'rink'], /the algorithm rink was asked for/],
  [['--ranks', '4', '--bytes', '4', '--algorithm', 'rink', '--json'], /the algorithm rink was asked for/],
])('refuses %j with what is wrong and what would do', async (args, message) => {
  expect(await explain(...args)).not.toBe(0)
  expect(out).toMatch(message)
})
