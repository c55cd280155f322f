import type { IncomingMessage } from 'node:http'
import type { LaneKind } from './lane.ts'
import { laneProof, laneProofNames } from './lane-proof.ts'
import type { Refusal } from './refusal.ts'

export const lanePath = '/lane'
/** Name of the protocol that a raw lane upgrades to. */
export const rawLaneProtocol = 'skein-lane/1'

/** What a dialer asks for: frames of `generation` from rank `to`, which is asked, to rank `from`, which asks. */
export interface LaneRequest {
  readonly kind: LaneKind
  readonly generation: number
  readonly from: number
  readonly to: number
  /** Among several groups of one generation: 0 is that of all members. */
  readonly group: number
  /** Among several lanes of one pair and direction. */
  readonly channel: number
}

const names = {
  generation: 'x-skein-generation',
  from: 'x-skein-from',
  to: 'x-skein-to',
  group: 'x-skein-group',
  channel: 'x-skein-channel',
} as const

/** Headers of the request, without those of the upgrade itself; `nonce` is drawn for this dial alone. */
export function laneHeaders(request: LaneRequest, token: string, nonce: string): Record<string, string> {
  return {
    [laneProofNames.nonce]: nonce,
    [laneProofNames.ask]: laneProof('ask', token, request, nonce),
    [names.generation]: String(request.generation),
    [names.from]: String(request.from),
    [names.to]: String(request.to),
    [names.group]: String(request.group),
    [names.channel]: String(request.channel),
  }
}

/** Reads such a request; a refusal where it is not one. */
export function parseLaneRequest(request: IncomingMessage): LaneRequest | Refusal {
  const protocol = request.headers.upgrade?.toLowerCase()
  const kind = protocol === rawLaneProtocol ? 'raw' : protocol === 'websocket' ? 'ws' : undefined
  if (kind === undefined)
    return { status: 426, reason: 'badRequest', why: `lanes upgrade to ${rawLaneProtocol} or websocket` }
  const generation = parseNumber(request, names.generation, 0xffff_ffff)
  const from = parseNumber(request, names.from, 0xffff)
  const to = parseNumber(request, names.to, 0xffff)
  // The two may be left out: then it is the only lane of the pair in the group of all.
  const group = names.group in request.headers ? parseNumber(request, names.group, 0xffff) : 0
  const channel = names.channel in request.headers ? parseNumber(request, names.channel, 0xff) : 0
  if (
    generation === undefined ||
    from === undefined ||
    to === undefined ||
    group === undefined ||
    channel === undefined
  ) {
    return { status: 400, reason: 'badRequest', why: `a lane needs numbers in ${Object.values(names).join(', ')}` }
  }
  return { kind, generation, from, to, group, channel }
}

function parseNumber(request: IncomingMessage, name: string, max: number): number | undefined {
  const text = request.headers[name]
  if (typeof text !== 'string' || !/^\d{1,10}$/.test(text)) return undefined
  const value = Number(text)
  return value <= max ? value : undefined
}
