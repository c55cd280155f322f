import { connect } from 'node:net'
import { sleep, SkeinError, within } from '@skein/core'
import { createSharedMemory, createSimd, SharedArena } from '@skein/simd'
import { attachLanes, listen, type TlsIdentity, TransportErrors } from '@skein/transport'
import { wrongArgument } from '../check-group.ts'
import { createGroup, type Group } from '../group.ts'
import type { TensorRegion } from '../region.ts'
import { scratchBytesFor } from '../scratch-bytes.ts'
import { connectGroup, type LaneAddress } from './connect-group.ts'

export interface OpenGroupOptions {
  readonly rank: number
  /** Of every rank: "host:port", or "unix:/path/of/a.sock" where all are on one host. This rank listens on its own. */
  readonly addresses: readonly string[]
  /** Shared secret: who does not know it is refused. */
  readonly token: string
  /** For lanes over host and port: what this rank shows, and the authority of which the others must show a certificate. Default: plain. */
  readonly tls?: TlsIdentity
  /** Of the memory for tensors; default 64 MiB. Not committed before it is used. */
  readonly tensorBytes?: number
  /** Of the memory for codecs and small ops; default 16 MiB. */
  readonly poolBytes?: number
  /** Lanes for urgent ops, too; default false. */
  readonly urgent?: boolean
  /** Until all ranks are here and joined; default 30 s. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** A tensor in the group's memory. */
export interface GroupTensor {
  readonly region: TensorRegion
  readonly view: Float32Array
}

/** A group with the memory its tensors live in. The owner calls `close`. */
export interface OpenedGroup {
  readonly group: Group
  readonly arena: SharedArena
  /** A zeroed float32 tensor, [elems]; lives as long as the group. */
  readonly float32: (elems: number) => GroupTensor
  /** Waits for all ranks, then closes every socket; idempotent. */
  readonly close: () => Promise<void>
}

/** The first pause between two tries to reach a rank that is not there yet, in ms; doubled up to the second. */
const retryMs = [10, 200] as const

/**
 * A group by itself, without a coordinator: one process a rank, all of which know all addresses. Dials until everyone is there. An op has no time limit:
 * who wants one passes a signal; a host that goes away without a word is noticed by TCP, after some minutes.
 * @throws SKEIN_TRANSPORT_UNREACHABLE for a rank that does not listen in time, SKEIN_COLLECTIVE_UNREACHABLE for one that listens and does not answer,
 * SKEIN_TRANSPORT_* for an address of its own that cannot be listened on, SKEIN_COLLECTIVE_ARGUMENT
 */
export async function openGroup(options: OpenGroupOptions): Promise<OpenedGroup> {
  const { rank, token, tensorBytes = 64 << 20, poolBytes = 16 << 20, urgent = false, timeoutMs = 30_000 } = options
  const addresses = options.addresses.map(parseAddress)
  const own = addresses[rank]
  if (own === undefined) {
    throw wrongArgument(`rank ${rank} was opened with ${addresses.length} addresses`, { rank, ranks: addresses.length })
  }
  const worldSize = addresses.length
  const scratchBytes = scratchBytesFor(worldSize, { poolBytes, urgent })
  const arena = new SharedArena(createSharedMemory(tensorBytes + scratchBytes))
  const group = createGroup({
    rank,
    worldSize,
    generation: 1,
    memory: arena.memory,
    simd: createSimd(arena.memory),
    scratch: arena.alloc('scratch of collectives', scratchBytes),
    urgent,
  })
  const deadline = performance.now() + timeoutMs
  const leftMs = () => Math.max(1, deadline - performance.now())
  const tls = own.path !== undefined || options.tls === undefined ? {} : { tls: options.tls }
  const listener = await listen(
    own.path === undefined ? { host: own.host, port: own.port, ...tls } : { path: own.path },
  )
  try {
    const lanes = attachLanes(listener.server, { holdMs: timeoutMs })
    const door = lanes.open({ generation: 1, rank, worldSize, token })
    await allReachable(addresses, rank, {
      timeoutMs: leftMs(),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
    await connectGroup(group, {
      door,
      addresses,
      token,
      timeoutMs: leftMs(),
      ...tls,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
  } catch (error) {
    group.close()
    await listener.close()
    throw error
  }
  let closing: Promise<void> | undefined
  const close = async () => {
    // A group that has failed has nobody to wait for.
    await group.barrier().catch(() => undefined)
    group.close()
    await listener.close()
  }
  return {
    group,
    arena,
    float32(elems) {
      const { byteOffset } = arena.alloc('tensor', elems * 4)
      return {
        region: { byteOffset, elems, dtype: 'float32' },
        view: new Float32Array(arena.memory.buffer, byteOffset, elems),
      }
    },
    close() {
      closing ??= close()
      return closing
    },
  }
}

function parseAddress(text: string): LaneAddress {
  if (text.startsWith('unix:')) return { host: 'localhost', port: 0, path: text.slice('unix:'.length) }
  const at = text.lastIndexOf(':')
  const port = Number(text.slice(at + 1))
  if (at > 0 && Number.isInteger(port) && port > 0 && port < 65_536) {
    return { host: text.slice(0, at).replace(/^\[(.*)\]$/, '$1'), port }
  }
  throw new SkeinError(TransportErrors.BAD_ADDRESS, {
    what: `"${text}" is no address of a rank`,
    why: 'an address is "host:port" or "unix:/path"',
    todo: 'correct it',
    details: { address: text },
  })
}

/** Waits until every other rank listens: ranks are started one after the other. */
async function allReachable(
  addresses: readonly LaneAddress[],
  rank: number,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<void> {
  const deadline = performance.now() + timeoutMs
  /** Nothing comes from a host that is down or behind a firewall: the time that is left bounds each try. */
  const reaches = async (address: LaneAddress, peer: number): Promise<boolean> => {
    const socket = connect(
      address.path === undefined ? { host: address.host, port: address.port } : { path: address.path },
    )
    const tried = new Promise<boolean>(resolve => {
      socket.once('connect', () => resolve(true))
      socket.on('error', () => resolve(false))
    })
    const leftMs = Math.max(1, deadline - performance.now())
    const what = `rank ${peer} to answer`
    try {
      return await within(tried, { what, timeoutMs: leftMs, ...(signal === undefined ? {} : { signal }) })
    } catch (error) {
      if (signal?.aborted === true) throw error
      return false
    } finally {
      socket.destroy()
    }
  }
  for (const [peer, address] of addresses.entries()) {
    for (
      let pauseMs: number = retryMs[0];
      peer !== rank && !(await reaches(address, peer));
      pauseMs = Math.min(2 * pauseMs, retryMs[1])
    ) {
      if (performance.now() > deadline) {
        throw new SkeinError(TransportErrors.UNREACHABLE, {
          what: `rank ${peer} did not listen at ${address.path ?? `${address.host}:${address.port}`} within ${Math.round(timeoutMs)} ms`,
          why: 'it was not started, listens elsewhere, or a firewall is between',
          todo: 'start it, and give all ranks the same addresses',
          details: { peer, timeoutMs },
        })
      }
      await sleep(pauseMs, signal)
    }
  }
}
