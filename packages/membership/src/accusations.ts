import { compareWorkerIds, lostWith } from './members.ts'
import type { Member, MembershipState } from './state.ts'

/*
 * Who lost its lanes to whom since the last commit. Where two workers live and cannot reach each other, all generations with both of them
 * end on it, and one has to go.
 */

/** So many generations in a row that end on the same link, and one of its two ends has to go. */
export const maxTries = 3
/** More broken links are not remembered. */
const mostBroken = 1_024

export function withAccusation(state: MembershipState, reporter: string, accused: string): MembershipState {
  const by = state.accusations[reporter] ?? {}
  return {
    ...state,
    accusations: { ...state.accusations, [reporter]: { ...by, [accused]: (by[accused] ?? 0) + 1 } },
  }
}

/** A process is gone: what it said, and what was said of it, tells nothing about the next one of its name. */
export function withoutAccusations(state: MembershipState, workerId: string): MembershipState {
  const without = <T>(entries: Readonly<Record<string, T>>) =>
    Object.entries(entries).filter(([name]) => name !== workerId)
  const accusations = without(state.accusations).map(([reporter, accused]) => [
    reporter,
    Object.fromEntries(without(accused)),
  ])
  return { ...state, accusations: Object.fromEntries(accusations) }
}

/**
 * Of the two ends of a link that failed too often, the one to put out: never one that the last commit is with alone; then of whom more is
 * complained, and between equals the one with the higher name.
 */
export function worstOfFailing(state: MembershipState): Member | undefined {
  const complaints = new Map<string, number>()
  let failing: readonly [string, string] | undefined
  for (const [reporter, accused] of Object.entries(state.accusations)) {
    for (const [name, times] of Object.entries(accused)) {
      complaints.set(name, (complaints.get(name) ?? 0) + times)
      const both = times + (state.accusations[name]?.[reporter] ?? 0)
      if (both >= (isKnownBroken(state, reporter, name) ? 1 : maxTries)) failing = [reporter, name]
    }
  }
  return failing === undefined ? undefined : worstOf(state, failing, complaints)
}

/** Of these workers the one to put out, by how many complaints there are of each. */
export function worstOf(
  state: MembershipState,
  names: readonly string[],
  complaints: ReadonlyMap<string, number>,
): Member | undefined {
  const complaintsOf = ({ workerId }: Member) => complaints.get(workerId) ?? 0
  return state.members
    .filter(({ workerId }) => names.includes(workerId))
    .toSorted(
      (a, b) =>
        lostWith(state, a) - lostWith(state, b) ||
        complaintsOf(b) - complaintsOf(a) ||
        compareWorkerIds(b.workerId, a.workerId),
    )[0]
}

const isPair = ([a, b]: readonly [string, string], one: string, other: string) =>
  (a === one && b === other) || (a === other && b === one)

const isKnownBroken = ({ brokenLinks }: MembershipState, one: string, other: string): boolean =>
  brokenLinks.some(pair => isPair(pair, one, other))

/** One of these was put out for their link: the next failure between them is enough. */
export function withBrokenLink(state: MembershipState, one: string, other: string): MembershipState {
  if (isKnownBroken(state, one, other)) return state
  return { ...state, brokenLinks: [...state.brokenLinks, [one, other] as const].slice(-mostBroken) }
}

/** These have made a step together: their links are whole. */
export function withWholeLinks(state: MembershipState, names: ReadonlySet<string>): MembershipState {
  if (state.brokenLinks.length === 0) return state
  return { ...state, brokenLinks: state.brokenLinks.filter(([a, b]) => !names.has(a) || !names.has(b)) }
}
