import type { Ms } from '@skein/core'
import type { RankProgram } from './rank-program.ts'

/** How far the messages between this rank and one peer are, in one op. Counts frames, whose times say what the link does. */
export class PeerTraffic {
  readonly peer: number
  readonly framesToSend: number
  readonly framesToReceive: number
  /** Flushed: the kernel has them. */
  framesSent = 0
  framesReceived = 0
  bytesReceived = 0
  /** Of complete frames, from the header of each to its last byte: what the link took, whenever the two ranks came to the op. */
  receivingMs: Ms = 0
  /** When the frame that is coming in now began. */
  frameBegunMs: Ms | undefined
  /** A frame is here and waits until this rank has come so far. */
  isParked = false

  constructor(peer: number, framesToSend: number, framesToReceive: number) {
    this.peer = peer
    this.framesToSend = framesToSend
    this.framesToReceive = framesToReceive
  }

  begin(nowMs: Ms): void {
    this.frameBegunMs = nowMs
    this.isParked = false
  }

  end(bytes: number, nowMs: Ms): void {
    this.receivingMs += nowMs - (this.frameBegunMs ?? nowMs)
    this.frameBegunMs = undefined
    this.framesReceived++
    this.bytesReceived += bytes
  }
}

/** One for each peer that a program sends to or receives from. */
export function trafficOf({ sends, receives }: RankProgram): ReadonlyMap<number, PeerTraffic> {
  const traffic = new Map<number, PeerTraffic>()
  for (const peer of [...sends.keys(), ...receives.keys()]) {
    if (traffic.has(peer)) continue
    traffic.set(peer, new PeerTraffic(peer, sends.get(peer)?.length ?? 0, receives.get(peer)?.length ?? 0))
  }
  return traffic
}
