import { type ComputeOp, describeOp, isCompute, type Schedule, type ScheduleOp } from './schedule.ts'

/**
 * The schedule over sharded weights (FSDP, ZeRO-3): a stage is gathered before it is computed, the least recently used of
 * `resident` gathered stages is released for it, and its gradient is reduced after its last weight gradient. The breadth-first
 * schedule gathers least: once for all forwards and once for all backwards of a chunk.
 * @see Lamy-Poirier 2023, Breadth-First Pipeline Parallelism, section 4
 */
export function shardWeights(schedule: Schedule, resident = 1): Schedule {
  const ops = schedule.ops.map(list => {
    const last = new Map<number, number>()
    for (const [index, op] of list.entries()) if (op.op === 'W' || op.op === 'BW') last.set(op.stage, index)
    const gathered: number[] = []
    const out: ScheduleOp[] = []
    for (const [index, op] of list.entries()) {
      if (readsWeights(op)) {
        const { stage } = op
        const at = gathered.indexOf(stage)
        if (at >= 0) gathered.splice(at, 1)
        else {
          if (gathered.length === resident) out.push({ op: 'release', stage: gathered.shift() as number })
          out.push({ op: 'gather', stage })
        }
        gathered.push(stage)
      }
      out.push(op)
      if (isCompute(op) && last.get(op.stage) === index) out.push({ op: 'reduce', stage: op.stage })
    }
    return out
  })
  return { ...schedule, ops }
}

/** All passes but the weight gradient, which is made of activations and gradients alone. */
function readsWeights(op: ScheduleOp): op is ComputeOp {
  return isCompute(op) && op.op !== 'W'
}

/** A stage computed while its weights are away, gathered twice, or reduced before its gradient is whole. */
export function findWeightsAway(schedule: Schedule): string | undefined {
  if (!schedule.ops.some(list => list.some(op => op.op === 'gather'))) return undefined
  for (const [rank, list] of schedule.ops.entries()) {
    const gathered = new Set<number>()
    const reduced = new Set<number>()
    for (const op of list) {
      const wrong = (why: string) => `rank ${rank} has "${describeOp(op)}" ${why}`
      if (op.op === 'gather') {
        if (gathered.has(op.stage)) return wrong('while it is gathered')
        gathered.add(op.stage)
      } else if (op.op === 'release') {
        if (!gathered.delete(op.stage)) return wrong('which is not gathered')
      } else if (op.op === 'reduce') reduced.add(op.stage)
      else if (isCompute(op)) {
        if (readsWeights(op) && !gathered.has(op.stage)) return wrong('while its weights are away')
        if (reduced.has(op.stage) && op.op !== 'F') return wrong('after its gradient was reduced')
      } else if (op.op === 'update') {
        const held = new Set(list.filter(isCompute).map(({ stage }) => stage))
        const whole = [...held].find(stage => !reduced.has(stage))
        if (whole !== undefined) return wrong(`before stage ${whole} was reduced`)
      }
    }
  }
  return undefined
}
