import { equalShares, sharesBySpeed } from './shares.ts'
import type { Member, MembershipState } from './state.ts'

/*
 * Who takes how many samples of a step. Shares belong to steps, not to generations: they change from one step to the next while all train,
 * and the next generation divides anew among its members by the speeds that are known.
 */

/** The shares of a new generation, in the order of ranks: those of a replica all take its samples. */
export function sharesFor({ config, speeds }: MembershipState, chosen: readonly Member[]): number[] {
  const { parts, globalBatch } = config
  if (parts > 1) return equalShares(globalBatch, chosen.length / parts).flatMap(share => Array(parts).fill(share))
  const known = chosen.flatMap(({ workerId }) => speeds[workerId] ?? [])
  if (known.length === 0) return equalShares(config.globalBatch, chosen.length)
  // A newcomer is as fast as the others until it is measured.
  const usual = known.toSorted((a, b) => a - b)[known.length >> 1] as number
  return sharesBySpeed(
    config.globalBatch,
    chosen.map(({ workerId }) => speeds[workerId] ?? usual),
  )
}

/** What shares of an earlier life of the coordinator say about speeds; nothing, where they are those of equals. */
export function speedsOfShares(shares: readonly { readonly workerId: string; readonly share: number }[]) {
  const total = shares.reduce((sum, { share }) => sum + share, 0)
  const isEqual = equalShares(total, shares.length).every((share, rank) => share === shares[rank]?.share)
  return isEqual
    ? {}
    : Object.fromEntries(shares.flatMap(({ workerId, share }) => (share > 0 ? [[workerId, share]] : [])))
}

/** After a commit: the shares of the next step, where it is the one from which they were announced to change. */
export function withSharesOfNext(state: MembershipState): MembershipState {
  const { reshare, committed } = state
  if (reshare?.fromStep !== committed.step + 1) return state
  return {
    ...state,
    members: state.members.each(member =>
      member.rank === undefined ? member : { ...member, share: reshare.shares[member.rank] ?? 0 },
    ),
    reshare: undefined,
    sharesSince: committed.step,
  }
}
