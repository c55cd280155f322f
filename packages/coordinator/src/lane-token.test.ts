import { expect, test } from 'vitest'
import { sealLaneToken } from './lane-token.ts'

const generation = (number: number) =>
  ({
    type: 'generation',
    generation: number,
    parts: 1,
    members: [{ workerId: 'w0', rank: 0, lane: { host: 'h', port: 1 }, share: 8 }],
    laneToken: `name.${number}`,
    startStep: 0,
    origin: { kind: 'initial' },
  }) as const
const tokenOf = (secret: string, number: number) =>
  (sealLaneToken(secret, generation(number)) as { laneToken: string }).laneToken

test('the token of a generation is a secret that tells nothing of its name, and the same for all who are told', () => {
  expect(tokenOf('key', 1)).toMatch(/^[0-9a-f]{64}$/)
  expect(tokenOf('key', 1)).toBe(tokenOf('key', 1))
  expect(new Set([tokenOf('key', 1), tokenOf('key', 2), tokenOf('other key', 1)]).size).toBe(3)
  expect(sealLaneToken('key', generation(1))).toEqual({ ...generation(1), laneToken: tokenOf('key', 1) })
})

test('whoever catches up is told the same secret', () => {
  const { parts, members, laneToken } = generation(1)
  const message = { type: 'catch-up', generation: 1, parts, part: 0, members, laneToken, step: 0 } as const
  expect(sealLaneToken('key', message)).toMatchObject({ laneToken: tokenOf('key', 1) })
})

test('other messages pass as they are', () => {
  const message = { type: 'finish' } as const
  expect(sealLaneToken('key', message)).toBe(message)
})
