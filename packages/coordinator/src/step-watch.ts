import type { Ms } from '@skein/core'
import {
  median,
  type MemberSpeed,
  noSteps,
  observeStep,
  relativeSpeeds,
  type Straggler,
  type StragglerChange,
  type StragglerState,
  stragglers,
  usualComputeMs,
  windowSteps,
} from '@skein/diagnosis'
import type { Effect, RunEvent, StepEvent } from '@skein/membership'

/**
 * What committed steps tell about the workers: how long a step takes, who is slow, how fast each is. Parts of a model are not alike: who has one is
 * compared with the others who have the same.
 */
export class StepWatch {
  /** By part. */
  readonly #states = new Map<number, StragglerState>()
  #stepMs: readonly Ms[] = []

  /** The effects, with an event after each step that shows a new straggler or the end of one. */
  watch(effects: readonly Effect[]): readonly Effect[] {
    return effects.flatMap(effect => {
      if (effect.type !== 'emit' || effect.event.event !== 'step') return [effect]
      return [effect, ...this.#observe(effect.event)]
    })
  }

  /** The median of the last steps, each as long as its slowest worker took; undefined before the first. */
  get usualStepMs(): Ms | undefined {
    return this.#stepMs.length === 0 ? undefined : median(this.#stepMs)
  }

  usualComputeMs(workerId: string): Ms | undefined {
    for (const state of this.#states.values()) {
      const usual = usualComputeMs(state, workerId)
      if (usual !== undefined) return usual
    }
    return undefined
  }

  stragglerOf(workerId: string): Straggler | undefined {
    return this.#all(stragglers).find(straggler => straggler.workerId === workerId)
  }

  /** Samples a second of each worker, and the shares with which all would take equally long. */
  get speeds(): readonly MemberSpeed[] {
    return this.#all(relativeSpeeds)
  }

  #all<T>(of: (state: StragglerState) => readonly T[]): readonly T[] {
    return [...this.#states.values()].flatMap(of)
  }

  #observe(event: StepEvent): Effect[] {
    this.#stepMs = [...this.#stepMs, event.stepMs].slice(-windowSteps)
    if (event.members === undefined) return []
    return [...Map.groupBy(event.members, ({ part = 0 }) => part)].flatMap(([part, ofPart]) => {
      const members = ofPart.map(({ workerId, share, computeMs }) => ({ workerId, computeMs, samples: share }))
      const before = this.#states.get(part) ?? noSteps
      const { state, changes } = observeStep(before, { step: event.step, members })
      this.#states.set(part, state)
      return changes.map((change): Effect => ({ type: 'emit', event: eventOf(change) }))
    })
  }
}

function eventOf(change: StragglerChange): RunEvent {
  const { workerId, reason } = change
  return change.change === 'straggler'
    ? { event: 'straggler', workerId, factor: change.factor, reason }
    : { event: 'straggler-gone', workerId, reason }
}
