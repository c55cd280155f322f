/**
 * Sockets: control links between workers and the coordinator, tensor lanes between workers. One HTTP port a process; every dial
 * is bounded and authenticated; every end is typed and known at once.
 *
 * @example
 * const listener = await listen({ port: 0 })
 * const door = attachLanes(listener.server).open({ generation, rank: 0, worldSize: 2, token })
 * const reader = await dialLane({ host, port, token, generation, rank: 0, peer: 1, sink })
 * const writer = await door.lane(1, { timeoutMs: 10_000 })
 * await writer.send(header, payload)
 */
export { attachControl, type ControlServer, type ControlServerOptions, controlPath } from './attach-control.ts'
export { attachLanes, type LaneServer, type LaneServerOptions } from './attach-lanes.ts'
export { ConnectionGuard, type GuardOptions, guardOf, type HttpServer } from './connection-guard.ts'
export type { CloseKind, CloseReason } from './close-reason.ts'
export type { ControlLimits, ControlLink } from './control-link.ts'
export { type DialControlOptions, dialControl } from './dial-control.ts'
export { attemptOfSeveralMs, dialInTurn, isStandby } from './dial-in-turn.ts'
export { type DialLaneOptions, defaultMaxPayloadBytes, dialLane } from './dial-lane.ts'
export { TransportErrors } from './errors.ts'
export { type HostReads, hostId, isSameHost } from './host-id.ts'
export type { LaneKind, LaneReader, LaneSink, LaneWriter } from './lane.ts'
export type { LaneDoor, LaneDoorOptions } from './lane-door.ts'
export { isLoopback } from './loopback.ts'
export { createHttpServer } from './http-server.ts'
export { isSameProof } from './lane-proof.ts'
export { lanePath, rawLaneProtocol } from './lane-request.ts'
export { type Listener, type ListenOptions, listen, wantUpgrade } from './listen.ts'
export type { HeartbeatOptions } from './liveness.ts'
export { type RefusalCounts, type RefusalReason, Refusals, refusalReasons } from './refusals.ts'
export { checkTlsIdentity, type TlsIdentity, type TlsTrust, tlsClientOptions, tlsDialError } from './tls-identity.ts'
export { refusedBy, tlsNeeded } from './refusal.ts'
export { maxStripes, type Stripes } from './stripe-channels.ts'
export { type DialStripedLaneOptions, dialStripedLane } from './dial-striped-lane.ts'
export { stripedLane, stripeWriter } from './striped-writer.ts'
