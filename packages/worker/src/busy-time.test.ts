import { describe, expect, it } from 'vitest'
import { BusyTime } from './busy-time.ts'

describe('BusyTime', () => {
  it('counts overlapping work once and starts again when taken', () => {
    let nowMs = 0
    const busy = new BusyTime({ now: () => nowMs })
    busy.enter()
    nowMs = 3
    busy.enter()
    nowMs = 5
    busy.leave()
    nowMs = 8
    busy.leave()
    nowMs = 20
    expect(busy.take()).toBe(8)
    busy.enter()
    nowMs = 22
    expect(busy.take()).toBe(2)
    nowMs = 25
    busy.leave()
    expect(busy.take()).toBe(3)
    expect(busy.take()).toBe(0)
  })
})
