import { SeatIndex } from './seat-index.ts'
import type { LinkId, Member } from './state.ts'

/** How many of the members are so. */
export interface Tally {
  readonly loaded: number
  /** In the present generation; of these: */
  readonly active: number
  readonly ready: number
  readonly voted: number
  readonly finished: number
  readonly leaving: number
}

const nobody: Tally = { loaded: 0, active: 0, ready: 0, voted: 0, finished: 0, leaving: 0 }
const pageSize = 128

type Page = readonly (Member | undefined)[]

/**
 * Everyone who has joined, in the order of joining. Immutable: to change one of n members costs a copy of a page and of the list of pages, not
 * of all n, and to find one by its name or link, or to count, costs nothing that grows with n. So a vote in a run of ten thousand
 * is as quick as in a run of ten.
 *
 * Each member has a seat for as long as it is here; seats of those who have gone stay empty until there are too many.
 */
export class Roster implements Iterable<Member> {
  readonly length: number
  readonly tally: Tally
  readonly #pages: readonly Page[]
  readonly #numSeats: number
  readonly #byId: SeatIndex
  readonly #byLink: SeatIndex

  private constructor(
    pages: readonly Page[],
    numSeats: number,
    length: number,
    byId: SeatIndex,
    byLink: SeatIndex,
    tally: Tally,
  ) {
    this.#pages = pages
    this.#numSeats = numSeats
    this.length = length
    this.#byId = byId
    this.#byLink = byLink
    this.tally = tally
  }

  /** These, in their order; each has a name and a link of its own. */
  static of(members: Iterable<Member>): Roster {
    let roster = new Roster([], 0, 0, new SeatIndex(), new SeatIndex(), nobody)
    for (const member of members) roster = roster.with(member)
    return roster
  }

  *[Symbol.iterator](): Generator<Member> {
    for (const page of this.#pages) for (const member of page) if (member !== undefined) yield member
  }

  byId(workerId: string): Member | undefined {
    return this.#at(this.#byId.get(workerId))
  }

  ofLink(link: LinkId): Member | undefined {
    return this.#at(this.#byLink.get(link))
  }

  /** In the place of the one with its name, where there is one, else behind all others. Nobody else may have its link. */
  with(member: Member): Roster {
    const known = this.#byId.get(member.workerId)
    const seat = known ?? this.#numSeats
    const former = this.#at(known)
    const byLink =
      former?.link === member.link
        ? this.#byLink
        : (former === undefined ? this.#byLink : this.#byLink.without(former.link)).with(member.link, seat)
    return new Roster(
      this.#seated(seat, member),
      Math.max(this.#numSeats, seat + 1),
      former === undefined ? this.length + 1 : this.length,
      former === undefined ? this.#byId.with(member.workerId, seat) : this.#byId,
      byLink,
      counted(this.tally, former, member),
    )
  }

  without(workerId: string): Roster {
    const seat = this.#byId.get(workerId)
    const former = this.#at(seat)
    if (seat === undefined || former === undefined) return this
    const rest = new Roster(
      this.#seated(seat, undefined),
      this.#numSeats,
      this.length - 1,
      this.#byId.without(workerId),
      this.#byLink.without(former.link),
      counted(this.tally, former, undefined),
    )
    return rest.#numSeats > 2 * rest.length + pageSize ? Roster.of(rest) : rest
  }

  /** All of them changed; names and links stay. */
  each(change: (member: Member) => Member): Roster {
    let tally = nobody
    const pages = this.#pages.map(page =>
      page.map(member => {
        if (member === undefined) return undefined
        const next = change(member)
        tally = counted(tally, undefined, next)
        return next
      }),
    )
    return new Roster(pages, this.#numSeats, this.length, this.#byId, this.#byLink, tally)
  }

  filter(is: (member: Member) => boolean): Member[] {
    return [...this].filter(is)
  }

  map<T>(to: (member: Member) => T): T[] {
    return Array.from(this, to)
  }

  some(is: (member: Member) => boolean): boolean {
    for (const member of this) if (is(member)) return true
    return false
  }

  #at(seat: number | undefined): Member | undefined {
    return seat === undefined ? undefined : this.#pages[Math.floor(seat / pageSize)]?.[seat % pageSize]
  }

  #seated(seat: number, member: Member | undefined): Page[] {
    const number = Math.floor(seat / pageSize)
    const pages = this.#pages.slice()
    const page = (pages[number] ?? []).slice()
    page[seat % pageSize] = member
    pages[number] = page
    return pages
  }
}

/** The tally after one member has changed, come or gone. */
function counted(tally: Tally, before: Member | undefined, after: Member | undefined): Tally {
  const change = (is: (member: Member) => boolean) =>
    Number(after !== undefined && is(after)) - Number(before !== undefined && is(before))
  const isActive = (member: Member) => member.rank !== undefined
  return {
    loaded: tally.loaded + change(member => member.loaded !== undefined),
    active: tally.active + change(isActive),
    ready: tally.ready + change(member => isActive(member) && member.ready !== undefined),
    voted: tally.voted + change(member => isActive(member) && member.vote !== undefined),
    finished: tally.finished + change(member => isActive(member) && member.finished !== undefined),
    leaving: tally.leaving + change(member => member.leaving !== undefined),
  }
}
