import path from 'node:path'
import { AskedProcess } from './asked-process.ts'
import { type Bench, type BenchCase, median, range } from './bench-case.ts'
import { places } from './places.ts'
import { glooWorld, type SkeinWorld, skeinWorld, type WorldPlace } from './rank-world.ts'

const kib = 1024
const mib = 1024 * kib

interface Shape {
  readonly name: string
  readonly rateMbit: number
  readonly rttMs: number
}

const shapes: readonly Shape[] = [
  { name: '1 Gbit/s, 1 ms', rateMbit: 1000, rttMs: 1 },
  { name: '100 Mbit/s, 40 ms', rateMbit: 100, rttMs: 40 },
]

export interface ShapedLinksOptions {
  /** Python with torch; without it the cases have no peer. */
  readonly python?: string
}

/**
 * All-reduce over links with a rate and a delay (scripts/shaped-link.mjs): int8 against Gloo's float32, and what is chosen by measured
 * links against every algorithm there is.
 */
export function shapedLinksBench(options: ShapedLinksOptions): Bench {
  return {
    name: 'shaped-links',
    about:
      'All-reduce between network namespaces joined by links of a rate and a round-trip time (scripts/shaped-link.mjs, whose carrying takes part of one core), timed at the caller in the device thread. Against Gloo: ratio = Gloo / ours. Choice: ratio = the best algorithm / the chosen one.',
    async run(report) {
      const cases: BenchCase[] = []
      for (const shape of shapes) {
        cases.push(...(await againstGloo(shape, options, report)), ...(await choice(shape, report)))
      }
      return cases
    },
  }
}

async function againstGloo(
  shape: Shape,
  { python }: ShapedLinksOptions,
  report: (line: string) => void,
): Promise<BenchCase[]> {
  const bytes = 64 * mib
  const rounds = 3
  return withLinks(shape, 2, async place => {
    const gloo = python === undefined ? undefined : await glooWorld(python, 2, place)
    const ours = await skeinWorld(2, 'raw', bytes, place)
    try {
      report(`${shape.name}: measured ${JSON.stringify(await ours.measure([]))}`)
      const times = { gloo: [] as number[], float32: [] as number[], int8: [] as number[] }
      for (let round = 0; round < rounds; round++) {
        if (gloo !== undefined) times.gloo.push(...(await gloo.run(bytes, 1)))
        times.float32.push(...(await ours.run(bytes, 1)))
        times.int8.push(...(await ours.run(bytes, 1, { codec: 'int8' })))
      }
      const floor = (share: number) => ((bytes * 8) / (shape.rateMbit * 1e6)) * 1000 * share
      return (['int8', 'float32'] as const).map(kind => {
        const ratios = times[kind].map((ms, i) => (times.gloo[i] ?? Number.NaN) / ms)
        report(`${shape.name}, ${kind}: ${median(times[kind]).toFixed(0)} ms, ratio ${median(ratios).toFixed(2)}`)
        return {
          bench: 'shaped-links',
          case: `${shape.name}, 2 ranks, 64 MiB, ${kind}`,
          unit: 'ms',
          ours: median(times[kind]),
          peer: gloo === undefined ? null : { name: 'Gloo float32', value: median(times.gloo) },
          floor: floor(kind === 'int8' ? 260 / 1024 : 1),
          ratio: gloo === undefined ? null : median(ratios),
          samples: times[kind],
          spread: gloo === undefined ? null : range(ratios),
          goal: kind === 'int8' ? 'at least 3.5 times Gloo (4 is the limit)' : 'for information',
        }
      })
    } finally {
      await Promise.all([gloo?.end(), ours.end()])
    }
  })
}

/** The chosen algorithm and every other, in turns. */
async function choice(shape: Shape, report: (line: string) => void): Promise<BenchCase[]> {
  const algorithms = ['ring', 'tree', 'halving-doubling', 'direct', 'recursive-doubling', 'double-tree', 'star']
  const ranks = 4
  return withLinks(shape, ranks, async place => {
    const world: SkeinWorld = await skeinWorld(ranks, 'raw', 16 * mib, place)
    try {
      const sizes = [
        [4 * kib, 8],
        [256 * kib, 5],
        [8 * mib, 2],
      ] as const
      const { worst, tuned } = await world.measure(sizes.map(([bytes]) => bytes))
      report(`${shape.name}: measured ${JSON.stringify(worst)}, tried ${JSON.stringify(tuned)}`)
      const cases: BenchCase[] = []
      for (const [bytes, rounds] of sizes) {
        const times = new Map<string, number[]>(['chosen', ...algorithms].map(name => [name, []]))
        for (const name of algorithms) await world.run(bytes, 1, { algorithm: name })
        for (let turn = 0; turn < 4; turn++) {
          const order = [...times].map((_, i, all) => all[(i + 2 * turn) % all.length] as (typeof all)[number])
          for (const [name, all] of order)
            all.push(...(await world.run(bytes, rounds, name === 'chosen' ? {} : { algorithm: name })))
        }
        const chosen = times.get('chosen') as number[]
        const others = algorithms.map(name => [name, median(times.get(name) as number[])] as const)
        const [bestName, best] = others.reduce((a, b) => (b[1] < a[1] ? b : a))
        const size = bytes < mib ? `${bytes / kib} KiB` : `${bytes / mib} MiB`
        report(
          `${shape.name}, ${size}: chosen ${median(chosen).toFixed(1)} ms; ${others.map(([n, ms]) => `${n} ${ms.toFixed(1)}`).join(', ')}`,
        )
        cases.push({
          bench: 'shaped-links',
          case: `${shape.name}, ${ranks} ranks, ${size}, chosen`,
          unit: 'ms',
          ours: median(chosen),
          peer: { name: `best: ${bestName}`, value: best },
          floor: null,
          ratio: best / median(chosen),
          samples: chosen,
          spread: range(chosen.map(ms => best / ms)),
          goal: 'within 10 % of the best (ratio ≥ 0.9)',
        })
      }
      return cases
    } finally {
      await world.end()
    }
  })
}

interface LinkNode {
  readonly namespace: string
  readonly address: string
  readonly interface: string
}

/** Makes the namespaces for the time of `run`. */
async function withLinks<T>(shape: Shape, ranks: number, run: (place: WorldPlace) => Promise<T>): Promise<T> {
  const script = path.join(places.root, 'scripts/shaped-link.mjs')
  const args = ['--nodes', ranks, '--rate-mbit', shape.rateMbit, '--rtt-ms', shape.rttMs, '--limit-s', 1800].map(String)
  const links = await AskedProcess.start('shaped-link', process.execPath, [script, ...args, '--hold'])
  try {
    const { nodes } = links.greeting as { nodes: readonly LinkNode[] }
    const nodeOf = (rank: number) => nodes[rank] as LinkNode
    return await run({
      hostOf: rank => nodeOf(rank).address,
      interfaceOf: rank => nodeOf(rank).interface,
      wrap: (rank, command, given) => ['ip', ['netns', 'exec', nodeOf(rank).namespace, command, ...given]],
    })
  } finally {
    await links.end()
  }
}
