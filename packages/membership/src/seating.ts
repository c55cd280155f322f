import { originOf } from './candidates.ts'
import { compareWorkerIds, heldPart, keptParts, partOfRank } from './members.ts'
import type { Member, MembershipConfig, MembershipState } from './state.ts'

/*
 * Who takes which place in a generation. A replica has a worker for each part of the model, so a generation is a number of replicas; whoever
 * holds a part of the last commit takes that part, and nobody is given another one while there is any other way.
 */

type Limits = Pick<MembershipConfig, 'parts' | 'replicas' | 'minWorkers' | 'maxWorkers'>

/** The most replicas that `count` of them can be: no more than the maximum, and a number that the batch can be divided among. */
export function replicasOf({ parts, maxWorkers, replicas }: Limits, count: number): number {
  const most = Math.min(count, Math.floor(maxWorkers / parts))
  return replicas?.findLast(number => number <= most) ?? most
}

/** The fewest workers of a generation, in whole replicas. */
export function leastWorkers({ parts, minWorkers, replicas }: Limits): number {
  const least = Math.ceil(minWorkers / parts)
  return (replicas?.find(number => number >= least) ?? least) * parts
}

/** The most. */
export const mostWorkers = (config: Limits): number => replicasOf(config, config.maxWorkers) * config.parts

/** The part whose state one that waits has, or is near to. */
export const nearPart = ({ holds, part }: Member): number => holds[0]?.part ?? part ?? 0

const eachPart = <T>({ parts }: Limits, of: (part: number) => T): T[] =>
  Array.from({ length: parts }, (_, part) => of(part))

/**
 * At most the maximum, in the order of ranks: for each part who holds it, then who has caught up with it, then by the order of joining. Where the
 * first two make enough replicas the others are left to catch up: nobody waits for a whole state.
 */
export function choose(state: MembershipState, candidates: readonly Member[]): Member[] {
  const { config } = state
  const { parts } = config
  const isHeld = originOf(state, candidates) === 'members'
  const onPart = eachPart(config, (): { readonly holding: Member[]; readonly near: Member[] } => ({
    holding: [],
    near: [],
  }))
  for (const member of candidates) {
    const held = isHeld ? heldPart(state, member) : undefined
    if (held !== undefined) onPart[held]?.holding.push(member)
    else if (member.caughtUp) onPart[nearPart(member)]?.near.push(member)
  }
  // Who keeps copies for others as well is not left out for one who does not.
  const numKept = (member: Member) => keptParts(state, member).length
  for (const { holding } of onPart) holding.sort((a, b) => numKept(b) - numKept(a))
  const numNear = Math.min(...onPart.map(({ holding, near }) => holding.length + near.length))
  const isEnough = isHeld && replicasOf(config, numNear) * parts >= leastWorkers(config)
  const replicas = replicasOf(config, isEnough ? numNear : Math.floor(candidates.length / parts))
  const seats = onPart.map(({ holding, near }) => (isHeld ? [...holding, ...near].slice(0, replicas) : []))
  const seated = new Set(seats.flat())
  // Who has nothing to lose comes first.
  const worth = (member: Member) => (isHeld && heldPart(state, member) !== undefined ? 2 : member.caughtUp ? 0 : 1)
  const others = candidates.filter(member => !seated.has(member)).toSorted((a, b) => worth(a) - worth(b))
  if (!isHeld) return inOrder(others.slice(0, replicas * parts))
  for (const seat of seats) seat.push(...others.splice(0, replicas - seat.length))
  const byPart = seats.map(inOrder)
  return Array.from(
    { length: replicas * parts },
    (_, rank) => byPart[rank % parts]?.[Math.floor(rank / parts)] as Member,
  )
}

const inOrder = (members: readonly Member[]): Member[] =>
  members.toSorted((a, b) => compareWorkerIds(a.workerId, b.workerId))

/** What a generation would be of those who stay, and of those who wait and are near to its state. */
export interface Completion {
  /** Of those who wait: who make whole replicas with the others, the first of each part. */
  readonly coming: readonly Member[]
  readonly replicas: number
}

export function completion(state: MembershipState, staying: readonly Member[], waiting: readonly Member[]): Completion {
  const { config } = state
  const stayingOn = eachPart(config, part => staying.filter(({ rank }) => partOfRank(state, rank) === part).length)
  const waitingOn = eachPart(config, part => waiting.filter(member => nearPart(member) === part))
  const replicas = replicasOf(
    config,
    Math.min(...stayingOn.map((count, part) => count + (waitingOn[part]?.length ?? 0))),
  )
  const coming = new Set(
    waitingOn.flatMap((members, part) => members.slice(0, Math.max(0, replicas - (stayingOn[part] ?? 0)))),
  )
  return { coming: waiting.filter(member => coming.has(member)), replicas }
}

/**
 * Which part each of those who wait goes after: as many of each part as make whole replicas, the rest where there are fewest. Who has a part, or
 * goes after one already, stays with it where it can. By workerId.
 */
export function partsToFollow(state: MembershipState, waiting: readonly Member[]): ReadonlyMap<string, number> {
  const { config } = state
  const whole = Math.floor(waiting.length / config.parts)
  const counts = eachPart(config, () => 0)
  const parts = new Map<string, number>()
  const take = ({ workerId }: Member, part: number) => {
    parts.set(workerId, part)
    counts[part] = (counts[part] ?? 0) + 1
  }
  const present = (member: Member) => {
    const part = heldPart(state, member) ?? member.part
    return part !== undefined && part < config.parts ? part : undefined
  }
  const left: Member[] = []
  for (const member of waiting) {
    const part = present(member)
    if (part !== undefined && (counts[part] ?? 0) < whole) take(member, part)
    else left.push(member)
  }
  // Who has nothing loses nothing.
  left.sort((a, b) => Number(present(a) !== undefined) - Number(present(b) !== undefined))
  for (const member of left) {
    const fewest = counts.indexOf(Math.min(...counts))
    take(member, (counts[fewest] ?? 0) < whole ? fewest : (present(member) ?? fewest))
  }
  return parts
}
