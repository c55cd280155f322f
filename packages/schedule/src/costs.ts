import { type ComputeOp, isCompute, type Schedule, type ScheduleOp } from './schedule.ts'

/** What things take, in any one unit of time. Of one microbatch on the stages of one rank: a chunk or slice takes its part of it. */
export interface Costs {
  readonly forward: number
  readonly inputGrad: number
  readonly weightGrad: number
  /** Both gradients in one pass; default their sum. */
  readonly backward?: number
  /** From the end of an op until its result is on another rank; default 0. */
  readonly hop?: number
  /** How long a result holds the link, and so delays the next one on it; default 0. */
  readonly linkBusy?: number
  /** Copy of the activations of one microbatch on one rank to the host, or back; default 0. */
  readonly copy?: number
  /** Device time that every op takes whatever it does; default 0. */
  readonly dispatch?: number
  /** Per stage how much more than the mean it takes; default 1 each. */
  readonly stageWeights?: readonly number[]
  /** Per slice of the sequence its part of the compute time, 1 in all; default equal. */
  readonly sliceParts?: readonly number[]
}

/** All three passes alike, and nothing else costs anything: what the papers draw. */
export const unitCosts: Costs = { forward: 1, inputGrad: 1, weightGrad: 1 }

/** Whether each of the three passes takes one unit: what closed forms without costs in them assume. */
export function isUnit({ forward, inputGrad, weightGrad }: Costs): boolean {
  return forward === 1 && inputGrad === 1 && weightGrad === 1
}

/** Time of all work on one microbatch on one rank. */
export function workOf({ forward, inputGrad, weightGrad }: Costs): number {
  return forward + inputGrad + weightGrad
}

/** How long an op holds the device. */
export function durationOf(schedule: Schedule, op: ScheduleOp, costs: Costs): number {
  if (!isCompute(op)) return 0
  const part = (costs.sliceParts?.[op.slice ?? 0] ?? 1 / schedule.slices) * (costs.stageWeights?.[op.stage] ?? 1)
  return (passTime(op, costs) * part * schedule.ranks) / schedule.stages + (costs.dispatch ?? 0)
}

function passTime({ op }: ComputeOp, costs: Costs): number {
  switch (op) {
    case 'F':
    case 'R':
      return costs.forward
    case 'B':
      return costs.inputGrad
    case 'W':
      return costs.weightGrad
    case 'BW':
      return costs.backward ?? costs.inputGrad + costs.weightGrad
  }
}
