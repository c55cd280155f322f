import path from 'node:path'
import { type OpenedGroup, openGroup } from '@skein/collective/node'

/** Groups of `ranks` ranks in this process, over Unix sockets in `folder`. */
export function openWorld(folder: string, ranks: number, tensorBytes = 8 << 20): Promise<OpenedGroup[]> {
  const addresses = Array.from({ length: ranks }, (_, rank) => `unix:${path.join(folder, `${rank}.sock`)}`)
  return Promise.all(
    addresses.map((_, rank) => openGroup({ rank, addresses, token: 'a test', tensorBytes, poolBytes: 1 << 20 })),
  )
}
