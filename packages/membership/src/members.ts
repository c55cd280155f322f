import { mirroredPart, partOf } from '@skein/core'
import type { HeldState, KeptStep, LinkId, Member, MembershipState } from './state.ts'

export const memberOfLink = (state: MembershipState, link: LinkId): Member | undefined => state.members.ofLink(link)

export const linksOf = (members: Iterable<Member>): LinkId[] => Array.from(members, member => member.link)

export const isActive = (member: Member): boolean => member.rank !== undefined

/** The members of the present generation, in rank order. */
export function activeMembers(state: MembershipState): Member[] {
  const byRank: Member[] = []
  // Ranks are 0 … n-1: each has its place, without sorting thousands at every vote.
  for (const member of state.members) if (member.rank !== undefined) byRank[member.rank] = member
  // Where one has gone after its end, a place is empty.
  return byRank.filter(member => member !== undefined)
}

const isCommitted = ({ committed: { step, digests } }: MembershipState, held: HeldState): boolean =>
  held.step === step && held.digest === digests?.[held.part]

/** The part of the last commit that is in the state which it trains. */
export const trainedPart = (state: MembershipState, { holds }: Member): number | undefined =>
  holds.find(held => isCommitted(state, held))?.part

/** Of a mirrored step: its own part, then its neighbour's. */
export const copiesOf = ({ config }: MembershipState, { step, part, digests }: KeptStep): readonly HeldState[] => [
  { part, step, digest: digests[0] },
  { part: mirroredPart(part, config.parts), step, digest: digests[1] },
]

/** Of the last commit, where that is mirrored: the parts it keeps copies of, its own first. */
export const keptParts = (state: MembershipState, { keeps }: Member): readonly number[] =>
  keeps
    .map(kept => copiesOf(state, kept))
    .find(copies => copies.every(copy => isCommitted(state, copy)))
    ?.map(copy => copy.part) ?? []

/** The part of the last commit that it can go on from. */
export const heldPart = (state: MembershipState, member: Member): number | undefined =>
  trainedPart(state, member) ?? keptParts(state, member)[0]

/** That one, and the part that its neighbour could go on from with what is kept here. */
export function heldParts(state: MembershipState, member: Member): readonly number[] {
  const kept = keptParts(state, member)
  const trained = trainedPart(state, member)
  return trained === undefined || kept.length > 0 ? kept : [trained]
}

/** Whether it can go on from the last commit. */
export const holdsCommitted = (state: MembershipState, member: Member): boolean => heldPart(state, member) !== undefined

/** Whether every part of the last commit is held by one of these. */
export function isAllHeld(state: MembershipState, members: Iterable<Member>): boolean {
  const { parts } = state.config
  const held = new Set<number>()
  for (const member of members) {
    for (const part of heldParts(state, member)) held.add(part)
    if (held.size === parts) return true
  }
  return false
}

/** How much is lost with it: most, if nobody else here holds its part of the last commit; nothing, if it holds none. */
export function lostWith(state: MembershipState, member: Member): number {
  const part = heldPart(state, member)
  if (part === undefined) return 0
  return state.members.some(other => other !== member && heldParts(state, other).includes(part)) ? 1 : 2
}

/** The part of one that is in the generation. */
export const partOfRank = ({ config }: MembershipState, rank: number | undefined): number =>
  partOf(rank ?? 0, config.parts)

/** " of part 1", where there is more than one. */
export const saidPart = ({ config }: MembershipState, part: number): string =>
  config.parts === 1 ? '' : ` of part ${part}`

/** These, as they are in another state of the run. */
export const asIn = (state: MembershipState, members: readonly Member[]): Member[] =>
  members.flatMap(({ workerId }) => state.members.byId(workerId) ?? [])

export const withoutMember = (state: MembershipState, workerId: string): MembershipState => ({
  ...state,
  members: state.members.without(workerId),
})

/** The state with one member's facts changed. */
export function withMember(state: MembershipState, workerId: string, change: Partial<Member>): MembershipState {
  const member = state.members.byId(workerId)
  return member === undefined ? state : { ...state, members: state.members.with({ ...member, ...change }) }
}

/** "worker w2 (rank 1)" */
export const nameOf = (member: Member): string =>
  member.rank === undefined ? `worker ${member.workerId}` : `worker ${member.workerId} (rank ${member.rank})`

/** "1 worker", "3 workers" */
export const counted = (count: number): string => `${count} worker${count === 1 ? '' : 's'}`

/** "w1, w2 and 7 more" */
export function listNames(names: readonly string[], limit = 8): string {
  if (names.length <= limit) return names.join(', ')
  return `${names.slice(0, limit).join(', ')} and ${names.length - limit} more`
}

/** "aa on w1, w3; bb on w2" */
export const formatGroups = (groups: ReadonlyMap<string, readonly string[]>, unit?: string): string =>
  [...groups]
    .map(([value, names]) => `${value}${unit === undefined ? '' : ` ${unit}`} on ${listNames(names)}`)
    .join('; ')

/**
 * Order of ranks: by workerId, numbers in it compared as numbers (w2 before w10).
 *
 * Not by order of arrival: gradients are summed in rank order, so the same workers on the same job give the same bits in every
 * run, however their starts race.
 */
export function compareWorkerIds(a: string, b: string): number {
  const partsA = a.split(/(\d+)/)
  const partsB = b.split(/(\d+)/)
  for (let i = 0; i < Math.min(partsA.length, partsB.length); i++) {
    const x = partsA[i] as string
    const y = partsB[i] as string
    if (x === y) continue
    // Odd parts are digits. Longer numbers than a double can tell apart fall through to the text order below.
    if (i % 2 === 1 && Number(x) !== Number(y)) return Number(x) - Number(y)
    return x < y ? -1 : 1
  }
  return partsA.length === partsB.length ? 0 : partsA.length - partsB.length
}
