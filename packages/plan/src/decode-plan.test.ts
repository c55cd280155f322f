import { type Random, seededRandom, SkeinError } from '@skein/core'
import { testSeed, useTestSeed } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { allReduceAlgorithms } from './algorithms.ts'
import { bruckAllToAll, pairwiseAllToAll, twoLevelAllToAll } from './all-to-all.ts'
import { disseminationBarrier } from './barrier.ts'
import { compress } from './compress.ts'
import { decodePlan } from './decode-plan.ts'
import { directGather, directScatter } from './direct.ts'
import { encodePlan } from './encode-plan.ts'
import type { CollectivePlan } from './plan.ts'
import { ringAllGather, ringAllReduce, ringReduceScatter } from './ring.ts'
import { binomialBroadcast, binomialReduce } from './tree.ts'
import { checkPlan } from './validate.ts'

useTestSeed()

const small = { ranks: 3, elems: 7, segmentElems: 2, root: 1 }
const plans: readonly CollectivePlan[] = [
  ...Object.values(allReduceAlgorithms).map(generate => generate(small)),
  ...[ringReduceScatter, ringAllGather].map(generate => generate(small)),
  ...[binomialBroadcast, binomialReduce, directGather, directScatter].map(generate => generate(small)),
  compress(ringAllReduce(small)),
  disseminationBarrier({ ranks: 3 }),
  bruckAllToAll({ ranks: 3, blockElems: 2 }),
  twoLevelAllToAll({ hosts: [0, 0, 1, 1], blockElems: 1 }),
  pairwiseAllToAll({
    counts: [
      [0, 2, 1],
      [3, 0, 0],
      [1, 1, 4],
    ],
  }),
]

test.each(plans)('$name is read as it was written', plan => {
  expect(decodePlan(encodePlan(plan))).toEqual(plan)
})

test('the text form', () => {
  expect(encodePlan(compress(ringAllReduce({ ranks: 2, elems: 2 })))).toBe(
    '{"format":"skein-plan/1","name":"ring-all-reduce","collective":{"kind":"all-reduce"},"ranks":2,"elems":2,"ops":' +
      '[[["encode",1,2],["send",1,1,2],["recvReduce",1,0,1],["encode",0,1],["send",1,0,1],["recv",1,1,2]],' +
      '[["encode",0,1],["send",0,0,1],["recvReduce",0,1,2],["encode",1,2],["send",0,1,2],["recv",0,0,1]]]}',
  )
})

describe('a text is refused with the place and the reason', () => {
  const text = encodePlan(ringAllReduce({ ranks: 2, elems: 2 }))
  const exchange = encodePlan(pairwiseAllToAll({ counts: [[1]] }))
  const gather = encodePlan(directGather({ ranks: 2, elems: 2, root: 0 }))

  test.each([
    ['', 'text is not JSON'],
    [text.slice(0, -1), 'text is not JSON'],
    ['['.repeat(1_000_000), 'text is not JSON'],
    ['null', 'plan is null, not an object'],
    ['[]', 'plan is a list, not an object'],
    ['{}', 'plan has no field "format"'],
    [text.replace('{', '{"root":1,'), 'plan has a field "root", which is not known'],
    [text.replace('plan/1', 'plan/2'), 'format is "skein-plan/2", not "skein-plan/1"'],
    [text.replace('ring-all-reduce', 'a\\u001b[2J'), 'name is "a\\u001b[2J", not a word of'],
    [text.replace('all-reduce"}', 'sort"}'), 'collective.kind is "sort", which is no collective'],
    [text.replace('{"kind":"all-reduce"}', 'null'), 'collective.kind is undefined, which is no collective'],
    [gather.replace('"root":0', '"root":"0"'), 'collective.root is "0", not a whole number from 0'],
    [exchange.replace('[[1]]', '[[1,1]]'), 'collective.counts[0] has 2 entries and not 1'],
    [exchange.replace('[[1]]', '[[-1]]'), 'collective.counts[0][0] is -1, not a whole number from 0'],
    [exchange.replace('[1,1,0]', '[1,1]'), 'spaces[0] has 2 entries and not 3'],
    [text.replace('"ranks":2', '"ranks":257'), 'ranks is 257, more than 256'],
    [text.replace('"ranks":2', '"ranks":3'), 'ops has 2 entries and not 3'],
    [text.replace('"elems":2', '"elems":1e300'), 'elems is 1e+300, not a whole number from 0'],
    [text.replace('"send"', '"sent"'), 'ops[0][0][0] is "sent", which is no op'],
    [text.replace('"send",1', '"send"'), 'ops[0][0] has 2 numbers and not 3'],
    [text.replace('"send",1', '"send",0.5'), 'ops[0][0][1] is 0.5, not a whole number from 0'],
  ])('%#', (broken, message) => {
    expect(() => decodePlan(broken)).toThrow(
      expect.objectContaining({ code: 'SKEIN_PLAN_TEXT', message: expect.stringContaining(message) }),
    )
  })

  test('for what it asks of its reader', () => {
    const refused = (limits: Parameters<typeof decodePlan>[1], message: string) =>
      expect(() => decodePlan(text, limits)).toThrow(
        expect.objectContaining({
          code: expect.stringMatching(/^SKEIN_PLAN_/),
          message: expect.stringContaining(message),
        }),
      )
    refused({ maxChars: 100 }, `has ${text.length} characters, more than 100`)
    refused({ maxRanks: 1 }, 'ranks is 2, more than 1')
    refused({ maxOps: 7 }, 'ops has more than 7 entries')
    refused({ maxWork: 10 }, '(too-much)')
  })

  test('when it can be read but does not do what it promises', () => {
    expect(() => decodePlan(text.replace('"send",1,1,2', '"send",1,0,1'))).toThrow(
      expect.objectContaining({
        code: 'SKEIN_PLAN_INVALID',
        message: expect.stringContaining('message 0 from rank 0 to rank 1: op 0 is "send [0,1) to 1"'),
      }),
    )
  })
})

/** A place in a text, changed: a character, a piece lost or doubled, a number, an op's word, two ops swapped, or anything for a word. */
function mutated(text: string, random: Random): string {
  const at = random.nextInt(text.length)
  const end = Math.min(text.length, at + 1 + random.nextInt(24))
  switch (random.nextInt(7)) {
    case 0:
      return (
        text.slice(0, at) +
        String.fromCharCode(random.nextInt(random.nextInt(8) === 0 ? 65_536 : 128)) +
        text.slice(at + 1)
      )
    case 1:
      return text.slice(0, at) + text.slice(end)
    case 2:
      return text.slice(0, end) + text.slice(at)
    case 3:
      return replacedToken(text, at, /\d+/g, () => numbers[random.nextInt(numbers.length)] as string)
    case 4:
      return replacedToken(text, at, /"(recv|recvReduce|send|copy)"/g, () => words[random.nextInt(5)] as string)
    case 5:
      return replacedToken(text, at, /\[[^[\]]*\],\[[^[\]]*\]/g, found => {
        const middle = found.indexOf('],[') + 1
        return `${found.slice(middle + 1)},${found.slice(0, middle)}`
      })
    default:
      return replacedToken(
        text,
        at,
        /"[a-zA-Z0-9/-]*"|\[[^[\]]*\]/g,
        () => words[random.nextInt(words.length)] as string,
      )
  }
}

const numbers = ['0', '1', '2', '3', '4', '7', '8', '255', '4294967295', '9007199254740991', '1e999', '-1', '0.5', '-0']
const words = [
  '"send"',
  '"recv"',
  '"recvReduce"',
  '"copy"',
  '"reduce"',
  '"encode"',
  '"all-to-all"',
  '"barrier"',
  '"gather"',
  '"__proto__"',
  '"layers"',
  '[]',
  'null',
  '["send",1,0,1]',
  '["copy",0,1,2]',
  '["recv",0,0,0]',
  '{}',
  '[["send",1,0,1]]',
]

/** The first token at or after `at` replaced, else the first of all. */
function replacedToken(text: string, at: number, token: RegExp, by: (found: string) => string): string {
  token.lastIndex = at
  const found = token.exec(text) ?? token.exec(text)
  return found === null ? text : text.slice(0, found.index) + by(found[0]) + text.slice(found.index + found[0].length)
}

test('of 200,000 changed texts each is a valid plan or a typed error, and none takes long', () => {
  const times = Number(process.env['SKEIN_FUZZ_RUNS'] ?? 1)
  const random = seededRandom(testSeed)
  const texts = plans.map(encodePlan)
  const outcomes = new Map<string, number>()
  let slowestMs = 0
  for (let run = 0; run < 200_000 * times; run++) {
    let text = texts[random.nextInt(texts.length)] as string
    for (let changes = random.nextInt(3); changes >= 0; changes--) text = mutated(text, random)
    const startMs = performance.now()
    const outcome = outcomeOf(text)
    slowestMs = Math.max(slowestMs, performance.now() - startMs)
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
  }
  // Each way to fail has been taken many times, so the changes reach into the checker and not only into the parser.
  for (const outcome of ['valid', 'text', 'malformed', 'unmatched', 'wrong-result']) {
    expect({ outcome, isFrequent: (outcomes.get(outcome) ?? 0) > 500 }).toEqual({ outcome, isFrequent: true })
  }
  expect(outcomes.get('deadlock') ?? 0).toBeGreaterThan(0)
  // A generous bound: texts of one kilobyte are read in less than a millisecond, and a stuck reader takes for ever.
  expect(slowestMs).toBeLessThan(2000)
})

function outcomeOf(text: string): string {
  try {
    expectValid(decodePlan(text))
    return 'valid'
  } catch (error) {
    if (!(error instanceof SkeinError))
      throw new Error(`not a typed error for ${JSON.stringify(text)}`, { cause: error })
    if (error.code === 'SKEIN_PLAN_TEXT') return 'text'
    if (error.code === 'SKEIN_PLAN_INVALID') return String(error.details['kind'])
    throw error
  }
}

function expectValid(plan: CollectivePlan): void {
  if (checkPlan(plan) !== undefined) throw new Error('a plan that was read is not valid')
}
