import fc from 'fast-check'
import { useTestSeed } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { Roster, type Tally } from './roster.ts'
import type { Member } from './state.ts'

useTestSeed()

const memberOf = (workerId: string, given: Partial<Member> = {}): Member => ({
  workerId,
  incarnation: 'i',
  link: `link of ${workerId}`,
  lane: { host: 'h', port: 1 },
  pid: 1,
  device: { backend: 'cpu', version: '1', threads: 1 },
  loaded: undefined,
  holds: [],
  keeps: [],
  part: undefined,
  follows: undefined,
  caughtUp: false,
  rank: undefined,
  share: 0,
  ready: undefined,
  vote: undefined,
  finished: undefined,
  leaving: undefined,
  notBeforeMs: 0,
  ...given,
})

/** The same by counting all. */
function countAll(members: readonly Member[]): Tally {
  const count = (is: (member: Member) => boolean) => members.filter(is).length
  return {
    loaded: count(member => member.loaded !== undefined),
    active: count(member => member.rank !== undefined),
    ready: count(member => member.rank !== undefined && member.ready !== undefined),
    voted: count(member => member.rank !== undefined && member.vote !== undefined),
    finished: count(member => member.rank !== undefined && member.finished !== undefined),
    leaving: count(member => member.leaving !== undefined),
  }
}

const change = fc.record({
  kind: fc.constantFrom('with', 'with', 'with', 'without', 'each'),
  name: fc.nat({ max: 400 }),
  link: fc.nat({ max: 2 }),
  facts: fc.record({
    rank: fc.option(fc.nat(), { nil: undefined }),
    ready: fc.option(fc.constant('d'), { nil: undefined }),
    finished: fc.option(fc.constant({ peakRssBytes: 1 }), { nil: undefined }),
    leaving: fc.option(fc.constant('told to'), { nil: undefined }),
  }),
})

describe('roster', () => {
  test('is what an array of members would be, whoever comes, changes or goes', () => {
    fc.assert(
      fc.property(fc.array(change, { minLength: 0, maxLength: 1_000, size: 'max' }), changes => {
        let roster = Roster.of([])
        let plain: Member[] = []
        for (const { kind, name, link, facts } of changes) {
          const workerId = `w${name}`
          if (kind === 'with') {
            const member = memberOf(workerId, { ...facts, link: `link ${name}/${link}` })
            roster = roster.with(member)
            const at = plain.findIndex(one => one.workerId === workerId)
            plain = at < 0 ? [...plain, member] : plain.with(at, member)
          } else if (kind === 'without') {
            roster = roster.without(workerId)
            plain = plain.filter(one => one.workerId !== workerId)
          } else {
            roster = roster.each(one => ({ ...one, rank: facts.rank }))
            plain = plain.map(one => ({ ...one, rank: facts.rank }))
          }
        }
        expect([...roster]).toEqual(plain)
        expect(roster.length).toBe(plain.length)
        expect(roster.tally).toEqual(countAll(plain))
        for (let name = 0; name <= 400; name++) {
          expect(roster.byId(`w${name}`)).toEqual(plain.find(one => one.workerId === `w${name}`))
          for (let link = 0; link <= 2; link++)
            expect(roster.ofLink(`link ${name}/${link}`)).toEqual(
              plain.find(one => one.link === `link ${name}/${link}`),
            )
        }
      }),
      { numRuns: 30 },
    )
  })

  test('a changed roster leaves the one it was made from as it was', () => {
    const before = Roster.of([memberOf('w1'), memberOf('w2')])
    before.with(memberOf('w1', { leaving: 'told to' }))
    before.without('w2')
    before.each(member => ({ ...member, rank: 0 }))
    expect([...before]).toEqual([memberOf('w1'), memberOf('w2')])
    expect(before.tally).toEqual(countAll([memberOf('w1'), memberOf('w2')]))
  })

  test('seats of those who have gone are given up: thousands may come and go one after the other', () => {
    let roster = Roster.of([memberOf('first')])
    for (let i = 0; i < 10_000; i++) roster = roster.with(memberOf(`w${i}`)).without(`w${i}`)
    expect([...roster].map(member => member.workerId)).toEqual(['first'])
    expect(roster.byId('first')?.workerId).toBe('first')
  })
})
