import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import type { VictimOptions } from './killed.test.process.ts'

const program = path.join(import.meta.dirname, 'killed.test.process.js')
const ranks = 3
const victim = 1
/** Blocks of 64 elements in segments of 16, 2 phases of 2 steps: what a rank sends in one all-reduce. */
const framesPerOp = 16
/** The bound that is promised, on a machine that runs the processes when they can go on. */
const boundMs = 200

interface Said {
  readonly killedAt?: number
  readonly code?: string
  readonly message?: string
  readonly details?: { readonly peer?: number; readonly opSeq?: number }
  readonly at?: number
  readonly lateMs?: number
}

/** What each rank said last. */
async function world(killAt: number): Promise<readonly Said[]> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-kill-'))
  try {
    return await Promise.all(
      Array.from({ length: ranks }, async (_, rank) => {
        const options: VictimOptions = { rank, ranks, folder, victim, killAt }
        const child = spawn(process.execPath, [program, JSON.stringify(options)], {
          stdio: ['ignore', 'pipe', 'inherit'],
          timeout: 20_000,
        })
        let text = ''
        child.stdout.on('data', (chunk: Buffer) => {
          text += chunk.toString()
        })
        await new Promise(resolve => child.once('close', resolve))
        return JSON.parse(text.trim().split('\n').at(-1) || '{}') as Said
      }),
    )
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

test('a rank that is killed at any frame of an all-reduce ends it on the others with its name, within 0.2 s', async () => {
  // Of the first op, and now and then of one amid the stream of them.
  const frames = Array.from({ length: framesPerOp }, (_, i) => (i % 4 === 3 ? 40 * framesPerOp + i : i))
  for (const killAt of frames) {
    const said = await world(killAt)
    const { killedAt = Number.NaN } = said[victim] ?? {}
    for (const rank of [0, 2]) {
      const { code, details, message, at = Number.NaN, lateMs = 0 } = said[rank] ?? {}
      expect({ killAt, rank, code }).toEqual({ killAt, rank, code: 'SKEIN_COLLECTIVE_PEER_LOST' })
      expect(details?.opSeq).toBeGreaterThanOrEqual(0)
      // A rank that is still in the barrier before the first op hears of it there.
      expect(message).toMatch(/(ring all-reduce|dissemination barrier) #/)
      const inTime = at - killedAt < boundMs + lateMs
      expect({ killAt, rank, tookMs: at - killedAt, lateMs, inTime }).toMatchObject({ inTime: true })
    }
    // The one that is dead, or the neighbour that heard of it first and closed its lanes.
    const peers = [0, 2].map(rank => said[rank]?.details?.peer)
    expect(peers).toContain(victim)
  }
}, 120_000)
