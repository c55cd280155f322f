import { HttpSource } from '@skein/catchup'
import { isSameHost, type TlsIdentity } from '@skein/transport'
import type { GenerationMessage } from './generation-client.ts'

/** Who asks. */
export interface AskerFacts {
  readonly workerId: string
  /** Peers of the same host are asked over their Unix sockets. */
  readonly hostId: string | undefined
  readonly tls: TlsIdentity | undefined
}

/** These ranks of a generation as sources of state, without the asker itself. To be closed. */
export function stateSources(
  { generation, members, laneToken }: Pick<GenerationMessage, 'generation' | 'members' | 'laneToken'>,
  ranks: readonly number[],
  { workerId, hostId, tls }: AskerFacts,
): HttpSource[] {
  return members
    .filter(member => member.workerId !== workerId && ranks.includes(member.rank))
    .map(({ workerId: name, lane: { host, port, local } }) => {
      // The Unix socket of a host is not for TLS.
      const path = tls === undefined && local !== undefined && isSameHost(local.hostId, hostId) ? local.path : undefined
      return new HttpSource({
        name: `worker ${name}`,
        workerId,
        address: { host, port, ...(path === undefined ? {} : { path }) },
        generation,
        token: laneToken,
        ...(tls === undefined ? {} : { tls }),
      })
    })
}
