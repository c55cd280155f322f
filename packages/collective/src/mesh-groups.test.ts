import { expect, test } from 'vitest'
import { axisGroups } from './mesh-groups.ts'

test('ranks that differ in one axis alone are a sub-group, and all agree about it', () => {
  const mesh = { pp: 2, dp: 3, tp: 2 }
  const numbers = new Map<number, string>()
  for (let rank = 0; rank < 12; rank++) {
    const place = { pp: Math.floor(rank / 6), dp: Math.floor(rank / 2) % 3, tp: rank % 2 }
    for (const group of axisGroups(mesh, rank)) {
      const others = [...Array(12).keys()].filter(r => {
        const other = { pp: Math.floor(r / 6), dp: Math.floor(r / 2) % 3, tp: r % 2 }
        return (['pp', 'dp', 'tp'] as const).every(axis => axis === group.axis || other[axis] === place[axis])
      })
      expect(group.ranks).toEqual(others)
      expect(group.ranks[group.rank]).toBe(rank)
      const name = `${group.axis} ${group.ranks.join(' ')}`
      expect(numbers.get(group.groupNumber) ?? name).toBe(name)
      numbers.set(group.groupNumber, name)
    }
  }
  // 6 along pp, 4 along dp, 6 along tp.
  expect([...numbers.keys()].sort((a, b) => a - b)).toEqual(Array.from({ length: 16 }, (_, i) => i + 1))
})

test('a rank that is not in the mesh is refused', () => {
  for (const [mesh, rank] of [
    [{ dp: 2 }, 2],
    [{ dp: 0 }, 0],
    [{ dp: 1.5 }, 0],
    [{ dp: 2 }, -1],
  ] as const) {
    expect(() => axisGroups(mesh, rank)).toThrow(expect.objectContaining({ code: 'SKEIN_COLLECTIVE_ARGUMENT' }))
  }
})
