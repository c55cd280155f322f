import { type Bench, type BenchCase, median, range } from './bench-case.ts'
import { glooWorld, type RankWorld, skeinWorld, socketWorld } from './rank-world.ts'

const kib = 1024
const mib = 1024 * kib
/** Bytes of the region, all-reduces in a burst. */
const sizes: readonly (readonly [bytes: number, rounds: number])[] = [
  [4 * kib, 100],
  [64 * kib, 100],
  [mib, 30],
  [16 * mib, 6],
  [64 * mib, 3],
]
const bursts = 7
const warmUpRounds = 1000

export interface CollectivesBenchOptions {
  /** Python with torch; without it the cases have no peer. */
  readonly python?: string
  readonly ranks?: readonly number[]
}

/**
 * float32 sum all-reduce among processes of this machine, timed at the caller in the device thread (both hops between threads are in
 * it), against PyTorch + Gloo. All worlds stay alive and take turns in bursts; of each round the slowest rank counts. Floor: the
 * bytes of a ring through bare sockets of the same kind.
 */
export function collectivesBench(options: CollectivesBenchOptions): Bench {
  return {
    name: 'collectives',
    about:
      'float32 all-reduce among processes of one machine, the algorithm chosen by measured links and a few trials, timed at the caller in the device thread, against PyTorch + Gloo; ratio = Gloo / ours, median of the paired bursts. Floor: the bytes of a ring through bare sockets, from each rank to the next, all at once, without sums.',
    run: report => runCollectives(options, report),
  }
}

async function runCollectives(
  { python, ranks: rankCounts = [2, 4] }: CollectivesBenchOptions,
  report: (line: string) => void,
): Promise<BenchCase[]> {
  const cases: BenchCase[] = []
  const maxBytes = 64 * mib
  for (const ranks of rankCounts) {
    const worlds: RankWorld[] = []
    const start = async <World extends RankWorld>(starting: Promise<World>): Promise<World> => {
      const world = await starting
      worlds.push(world)
      return world
    }
    try {
      const gloo = python === undefined ? undefined : await start(glooWorld(python, ranks))
      const kinds = await Promise.all(
        (['raw', 'unix', 'ws'] as const).map(async lanes => ({
          lanes,
          ours: await start(skeinWorld(ranks, lanes, maxBytes)),
          // WebSockets run over TCP.
          floor: lanes === 'ws' ? undefined : await start(socketWorld(ranks, lanes, maxBytes)),
        })),
      )
      for (const { ours } of kinds) await ours.measure(sizes.map(([bytes]) => bytes))
      for (const world of worlds) await world.run(4 * kib, warmUpRounds)
      for (const [bytes, rounds] of sizes) {
        const times = new Map(worlds.map(world => [world, [] as number[]]))
        for (let burst = 0; burst < bursts; burst++) {
          for (const world of worlds) times.get(world)?.push(median(await world.run(bytes, rounds)))
        }
        for (const { lanes, ours, floor } of kinds) {
          const samples = times.get(ours) as number[]
          const peers = gloo === undefined ? undefined : times.get(gloo)
          const ratios = samples.map((ms, i) => (peers?.[i] ?? Number.NaN) / ms)
          const size = bytes < mib ? `${bytes / kib} KiB` : `${bytes / mib} MiB`
          const name = { raw: 'TCP', unix: 'Unix sockets', ws: 'WebSockets' }[lanes]
          cases.push({
            bench: 'collectives',
            case: `${ranks} ranks, ${size}, ${name}`,
            unit: 'ms',
            ours: median(samples),
            peer: peers === undefined ? null : { name: 'Gloo', value: median(peers) },
            floor: floor === undefined ? null : median(times.get(floor) as number[]),
            ratio: peers === undefined ? null : median(ratios),
            samples,
            spread: peers === undefined ? null : range(ratios),
            goal: goalOf(lanes, bytes),
          })
          report(
            `${ranks} ranks, ${size}, ${name}: ${median(samples).toFixed(3)} ms, ratio ${median(ratios).toFixed(2)}`,
          )
        }
      }
    } finally {
      for (const world of worlds) await world.end()
    }
  }
  return cases
}

function goalOf(lanes: 'raw' | 'unix' | 'ws', bytes: number): string {
  if (lanes === 'ws') return 'for information'
  if (bytes <= mib) return lanes === 'raw' ? 'at least 3 times Gloo' : 'for information'
  return lanes === 'raw' ? 'at least 1.2 times Gloo' : 'at least 1.4 times Gloo'
}
