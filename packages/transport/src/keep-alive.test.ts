import fs from 'node:fs'
import { temporaryFolder } from '@skein/testkit'
import { expect, test, vi } from 'vitest'
import { keepAliveMs } from './keep-alive.ts'
import { KeepingSink, media, SendingSide } from './lane-rig.test.util.ts'

/** A second, in the ticks of /proc. */
const hertz = 100

/** Ticks until the system asks after the peer, by end of the connections with `port`; undefined where it never does. Linux tells. */
function ticksToProbe(port: number): (number | undefined)[] {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const rows = fs.readFileSync('/proc/net/tcp', 'utf8').split('\n')
  return rows
    .map(row => row.trim().split(/\s+/u))
    .filter(([, local, remote, state]) => state === '01' && [local, remote].some(end => end?.endsWith(`:${hex}`)))
    .map(([, , , , , timer = '']) => (timer.startsWith('02:') ? Number.parseInt(timer.slice(3), 16) : undefined))
}

const overTcp = media.filter(({ overPath }) => !overPath)
test.runIf(process.platform === 'linux').each(overTcp)(
  'the system asks after both ends of a silent lane: $name',
  async medium => {
    using folder = temporaryFolder('keep-alive')
    await using side = await SendingSide.open(medium, folder.path)
    await side.lane(new KeepingSink())
    // At first the timer may be that of an acknowledgement under way.
    await vi.waitFor(() => {
      const ends = ticksToProbe(side.listener.port)
      expect(ends).toHaveLength(2)
      for (const ticks of ends) expect((ticks ?? 0) / hertz).toBeGreaterThan(keepAliveMs / 2_000)
      for (const ticks of ends) expect((ticks ?? 0) / hertz).toBeLessThanOrEqual(keepAliveMs / 1_000)
    })
  },
)
