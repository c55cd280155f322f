import path from 'node:path'
import { createGroup, type Group, scratchBytesFor } from '@skein/collective'
import { connectGroup } from '@skein/collective/node'
import { createSimd, type SharedArena } from '@skein/simd'
import { attachLanes, type LaneServer, listen } from '@skein/transport'

/** Ranks that form a group, by number; 0 is the group of all. */
export type GroupRanks = ReadonlyMap<number, readonly number[]>

/**
 * The ranks of a mesh in one process, each with its own memory and with its groups over Unix sockets: what a generation has.
 */
export class MeshWorld {
  readonly #folder: string
  readonly #closers: (() => Promise<void> | void)[] = []
  #generation = 0

  constructor(folder: string) {
    this.#folder = folder
  }

  /** Opens the groups of every rank, over its memory. */
  async connect(ranks: readonly { readonly arena: SharedArena; readonly groups: GroupRanks }[]) {
    const generation = ++this.#generation
    const paths = ranks.map((_, rank) => path.join(this.#folder, `${generation}-${rank}.sock`))
    const servers = await Promise.all(
      paths.map(async own => {
        const listener = await listen({ path: own })
        this.#closers.push(() => listener.close())
        return attachLanes(listener.server)
      }),
    )
    const opened = ranks.map(({ arena, groups }, rank) =>
      [...groups].map(([number, members]) => ({
        number,
        members,
        ...openOne({ arena, number, members, rank, generation, lanes: servers[rank] as LaneServer }),
      })),
    )
    await Promise.all(
      opened.flat().map(({ group, door, number, members }) => {
        this.#closers.unshift(() => group.close())
        const addresses = members.map(rank => ({ host: 'localhost', port: 0, path: paths[rank] as string }))
        return connectGroup(group, { door, addresses, token: 'a test', groupNumber: number, timeoutMs: 20_000 })
      }),
    )
    return opened.map(groups => new Map(groups.map(({ number, group }): [number, Group] => [number, group])))
  }

  async close(): Promise<void> {
    for (const close of this.#closers.splice(0)) await close()
  }
}

const poolBytes = 1 << 20

export const groupScratchBytes = (size: number) => scratchBytesFor(size, { poolBytes })

function openOne(parts: {
  readonly arena: SharedArena
  readonly number: number
  readonly members: readonly number[]
  readonly rank: number
  readonly generation: number
  readonly lanes: LaneServer
}) {
  const { arena, number, members, generation, lanes } = parts
  const place = { rank: members.indexOf(parts.rank), worldSize: members.length, generation }
  const group = createGroup({
    ...place,
    memory: arena.memory,
    simd: createSimd(arena.memory),
    scratch: arena.alloc(`scratch of group ${number}`, groupScratchBytes(members.length)),
  })
  return { group, door: lanes.open({ ...place, group: number, token: 'a test' }) }
}
