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

/** What committed steps tell about the workers: how long a step takes, who is slow, how fast each is. */
export class StepWatch {
  #state: StragglerState = noSteps
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
    return usualComputeMs(this.#state, workerId)
  }

  stragglerOf(workerId: string): Straggler | undefined {
    return stragglers(this.#state).find(straggler => straggler.workerId === workerId)
  }

  /** Samples a second of each worker, and the shares with which all would take equally long. */
  get speeds(): readonly MemberSpeed[] {
    return relativeSpeeds(this.#state)
  }

  #observe(event: StepEvent): Effect[] {
    this.#stepMs = [...this.#stepMs, event.stepMs].slice(-windowSteps)
    if (event.members === undefined) return []
    const members = event.members.map(({ workerId, share, computeMs }) => ({ workerId, computeMs, samples: share }))
    const { state, changes } = observeStep(this.#state, { step: event.step, members })
    this.#state = state
    return changes.map((change): Effect => ({ type: 'emit', event: eventOf(change) }))
  }
}

function eventOf(change: StragglerChange): RunEvent {
  const { workerId, reason } = change
  return change.change === 'straggler'
    ? { event: 'straggler', workerId, factor: change.factor, reason }
    : { event: 'straggler-gone', workerId, reason }
}
