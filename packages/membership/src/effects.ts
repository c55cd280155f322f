import type { CoordinatorMessage, DeviceFacts, LaneAddress } from './messages.ts'
import type { RunEvent } from './run-events.ts'
import type { LinkId, MembershipState } from './state.ts'

/** What the commit log keeps, in order. */
export type LogRecord =
  | {
      readonly type: 'generation'
      readonly generation: number
      readonly startStep: number
      /** That the model is cut in; absent: 1, as in logs from before models were cut. */
      readonly parts?: number
      readonly members: readonly {
        readonly workerId: string
        readonly incarnation: string
        readonly rank: number
        readonly lane: LaneAddress
        readonly device: DeviceFacts
        /** Samples of each step, which the whole replica takes, until a record of the same generation says otherwise. */
        readonly share: number
      }[]
    }
  /** Other samples for each rank, in their order, from a step on. */
  | {
      readonly type: 'shares'
      readonly generation: number
      readonly fromStep: number
      readonly shares: readonly number[]
    }
  | {
      readonly type: 'started'
      readonly generation: number
      readonly step: number
      readonly digest: string
      /** Of each part, where there is more than one: `digest` is their combination. */
      readonly digests?: readonly string[]
    }
  | {
      readonly type: 'commit'
      readonly generation: number
      readonly step: number
      readonly samplesFrom: number
      readonly samplesTo: number
      readonly digest: string
      /** Likewise. */
      readonly digests?: readonly string[]
      readonly loss: number
    }
  | { readonly type: 'checkpoint'; readonly generation: number; readonly step: number; readonly path: string }
  | { readonly type: 'ended'; readonly status: 'finished' | 'stopped' | 'failed'; readonly reason: string }

/**
 * What the process must do, in this order. An `append` or `emit` must be durable before any `send` or `broadcast` of the same
 * decision leaves.
 */
export type Effect =
  | { readonly type: 'append'; readonly record: LogRecord }
  | { readonly type: 'emit'; readonly event: RunEvent }
  | { readonly type: 'send'; readonly link: LinkId; readonly message: CoordinatorMessage }
  | { readonly type: 'broadcast'; readonly links: readonly LinkId[]; readonly message: CoordinatorMessage }
  /** Ends the link after what was sent on it is flushed. */
  | { readonly type: 'close'; readonly link: LinkId; readonly reason: string }

export interface Decision {
  readonly state: MembershipState
  readonly effects: readonly Effect[]
  /** Why, in words for people; logged when it changes. */
  readonly reason: string
}

/** Nothing changes. */
export const keep = (state: MembershipState, reason: string): Decision => ({ state, effects: [], reason })

/** In the order of the contract: what must be durable before what leaves. */
export function durableFirst(decision: Decision): Decision {
  const { effects } = decision
  if (effects.length < 2) return decision
  const isDurable = (effect: Effect) => effect.type === 'append' || effect.type === 'emit'
  return { ...decision, effects: [...effects.filter(isDurable), ...effects.filter(effect => !isDurable(effect))] }
}

/** The decision, with effects that come before its own. */
export function withEffects(decision: Decision, before: readonly Effect[]): Decision {
  return { ...decision, effects: [...before, ...decision.effects] }
}
