import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { AskedProcess } from './asked-process.ts'
import type { Address } from './collective-comm.ts'
import type { Measured } from './collective-rank.ts'
import type { RankOptions } from './rank-threads.ts'
import { places } from './places.ts'

/** Ranks of one library, alive and connected, that run all-reduces when they are asked to. */
export interface RankWorld {
  readonly name: string
  /** Times of `rounds` all-reduces at the caller, in ms: per round those of the slowest rank. */
  run(bytes: number, rounds: number, how?: Readonly<Record<string, unknown>>): Promise<readonly number[]>
  end(): Promise<void>
}

/** A world of ours. */
export interface SkeinWorld extends RankWorld {
  /** Measures the links, tries algorithms at these sizes, and goes by what it found from here on. */
  measure(sizes: readonly number[]): Promise<Measured>
}

/** Runs a rank somewhere: the command and its arguments may be wrapped, to enter a network namespace. */
export type Wrap = (
  rank: number,
  command: string,
  args: readonly string[],
) => readonly [command: string, args: readonly string[]]

export interface WorldPlace {
  readonly hostOf: (rank: number) => string
  readonly wrap: Wrap
  /** Interface that Gloo is told to use. */
  readonly interfaceOf?: (rank: number) => string
}

export const onLoopback: WorldPlace = { hostOf: () => '127.0.0.1', wrap: (_, command, args) => [command, args] }

const ourProcess = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const glooProcess = path.join(places.root, 'packages/bench/peers/allreduce_gloo.py')

export async function skeinWorld(
  ranks: number,
  lanes: RankOptions['lanes'],
  maxBytes: number,
  place: WorldPlace = onLoopback,
): Promise<SkeinWorld> {
  const { processes, folder } = await startRanks('collective-rank.js', { ranks, lanes, maxBytes, place })
  return {
    ...worldOf(`skein ${lanes}`, processes, folder),
    async measure(sizes) {
      const line = `measure ${JSON.stringify(sizes)}`
      const [found] = await Promise.all(processes.map(rank => rank.ask<Measured>(line)))
      return found as Measured
    },
  }
}

/** Bare sockets from each rank to the next. */
export async function socketWorld(
  ranks: number,
  lanes: RankOptions['lanes'],
  maxBytes: number,
  place: WorldPlace = onLoopback,
): Promise<RankWorld> {
  const { processes, folder } = await startRanks('socket-rank.js', { ranks, lanes, maxBytes, place })
  return worldOf(`bare ${lanes}`, processes, folder)
}

/** Processes of one program, one a rank, that know each other. */
export async function startRanks(
  program: string,
  options: {
    readonly ranks: number
    readonly lanes: RankOptions['lanes']
    readonly maxBytes: number
    readonly place: WorldPlace
  },
) {
  const { ranks, lanes, maxBytes, place } = options
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-bench-'))
  const processes = await Promise.all(
    Array.from({ length: ranks }, (_, rank) => {
      const ofRank: RankOptions = {
        rank,
        ranks,
        lanes,
        maxBytes,
        host: place.hostOf(rank),
        socketPath: path.join(folder, `${rank}.sock`),
      }
      const [command, args] = place.wrap(rank, process.execPath, [ourProcess(program), JSON.stringify(ofRank)])
      return AskedProcess.start(`rank ${rank}`, command, args)
    }),
  )
  const addresses = processes.map(rank => (rank.greeting as { address: Address }).address)
  await Promise.all(processes.map(rank => rank.ask(`connect ${JSON.stringify(addresses)}`)))
  return { processes, folder }
}

export async function glooWorld(python: string, ranks: number, place: WorldPlace = onLoopback): Promise<RankWorld> {
  const port = String(await freePort())
  const processes = await Promise.all(
    Array.from({ length: ranks }, (_, rank) => {
      const network = place.interfaceOf === undefined ? [] : [place.interfaceOf(rank)]
      const args = [glooProcess, String(rank), String(ranks), place.hostOf(0), port, ...network]
      return AskedProcess.start(`gloo rank ${rank}`, ...place.wrap(rank, python, args))
    }),
  )
  await Promise.all(processes.map(rank => rank.ask('connect')))
  return worldOf('Gloo', processes)
}

function worldOf(name: string, processes: readonly AskedProcess[], folder?: string): RankWorld {
  return {
    name,
    async run(bytes, rounds, how = {}) {
      const line = `run ${bytes} ${rounds} ${JSON.stringify(how)}`
      const answers = await Promise.all(processes.map(rank => rank.ask<{ ms: readonly number[] }>(line)))
      return Array.from({ length: rounds }, (_, i) => Math.max(...answers.map(({ ms }) => ms[i] as number)))
    },
    async end() {
      await Promise.all(processes.map(rank => rank.end()))
      if (folder !== undefined) fs.rmSync(folder, { recursive: true, force: true })
    },
  }
}

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise(resolve => server.close(resolve))
  return port
}
