import { makersOf, takerOf } from './frozen.ts'
import type { Schedule } from './schedule.ts'

/**
 * Messages from rank to rank, activations and gradients together: `[from][to]`. A slice is a message of its own. And what frozen layers make of each
 * piece, to the first stage.
 */
export function messagesBetween(schedule: Schedule): readonly (readonly number[])[] {
  const sent = schedule.ops.map(() => schedule.ops.map(() => 0))
  const count = (from: number, to: number) => {
    const row = sent[from]
    if (row !== undefined && from !== to) row[to] = (row[to] as number) + schedule.slices
  }
  for (let microbatch = 0; microbatch < schedule.microbatches; microbatch++) {
    const places = schedule.pipes[schedule.pipeOf?.[microbatch] ?? 0] ?? []
    const path = schedule.paths?.[microbatch] ?? [...places.keys()]
    for (const [i, stage] of path.entries()) {
      const next = path[i + 1]
      if (next === undefined) break
      const [here, there] = [places[stage] as number, places[next] as number]
      count(here, there)
      count(there, here)
    }
  }
  for (const [piece, maker] of makersOf(schedule)) {
    const row = sent[maker]
    const taker = takerOf(schedule, piece)
    if (row !== undefined && maker !== taker) row[taker] = (row[taker] as number) + 1
  }
  return sent
}
