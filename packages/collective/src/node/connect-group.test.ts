import { sleep } from '@skein/core'
import { attachLanes, listen } from '@skein/transport'
import { expect, onTestFinished, test } from 'vitest'
import { groupAlone } from '../group-alone.test.support.ts'
import { connectGroup } from './connect-group.ts'

const token = 'of-this-test'

/** A rank that listens, and opens its door when it is told to. */
async function rankAt(rank: number, holdMs: number) {
  const listener = await listen({})
  const lanes = attachLanes(listener.server, { holdMs })
  const { group } = groupAlone({ rank, ranks: 2 })
  onTestFinished(async () => {
    group.close()
    lanes.close()
    await listener.close()
  })
  return { group, port: listener.port, open: () => lanes.open({ generation: 1, rank, worldSize: 2, token }) }
}

/** Rank 0 dials at once, rank 1 comes so far after `lateMs`. */
async function connectBoth(lateMs: number, limits: { readonly timeoutMs: number; readonly peerMs?: number }) {
  const ranks = [await rankAt(0, 50), await rankAt(1, 50)] as const
  const addresses = ranks.map(({ port }) => ({ host: '127.0.0.1', port }))
  const connect = ({ group, open }: (typeof ranks)[number]) =>
    connectGroup(group, { door: open(), addresses, token, ...limits })
  return Promise.allSettled([connect(ranks[0]), sleep(lateMs).then(() => connect(ranks[1]))])
}

test('a peer that answers, and is busy with what was before, is waited for longer than one that does not answer', async () => {
  const outcomes = await connectBoth(600, { timeoutMs: 200, peerMs: 20_000 })
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
})

test('and not for ever', async () => {
  const [first] = await connectBoth(1_500, { timeoutMs: 200, peerMs: 400 })
  expect(first).toMatchObject({ status: 'rejected', reason: { code: 'SKEIN_COLLECTIVE_UNREACHABLE' } })
})
