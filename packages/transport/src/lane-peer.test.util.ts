/**
 * One end of a lane in a process of its own, to be killed. `send`: listens and sends one frame of 64 MiB to whoever dials.
 * `receive`: dials, and waits for ever with the first frame. Says so to its parent when it is ready.
 */
import {
  type Address,
  generation,
  headerOf,
  type Medium,
  receiver,
  SendingSide,
  sender,
  token,
} from './lane-rig.test.util.ts'
import { dialStripedLane } from './dial-striped-lane.ts'

export const peerPayloadBytes = 64 * 2 ** 20

// A lane that waits does not read, and what does not read keeps no process alive.
process.on('message', () => undefined)
const [role, text = '{}'] = process.argv.slice(2)
const given: unknown = JSON.parse(text)

if (role === 'send') {
  const { medium, folder } = given as { medium: Medium; folder: string }
  const side = await SendingSide.open(medium, folder)
  process.send?.(side.address)
  const writer = await side.writer(receiver, side.door, 20_000)
  await writer.send(headerOf(peerPayloadBytes), new Uint8Array(peerPayloadBytes))
} else if (role === 'receive') {
  const address = given as Address
  const sink = { place: () => 'wait' as const, received: () => undefined, failed: () => undefined }
  const reader = await dialStripedLane({ ...address, token, generation, rank: receiver, peer: sender, sink })
  process.send?.('open')
  await reader.closed
}
