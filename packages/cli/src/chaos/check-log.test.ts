import { expect, test } from 'vitest'
import { checkLog, type CommitRow, type DivisionRow, type GenerationRow } from './check-log.ts'

const commit = (step: number, generation: number, more: Partial<CommitRow> = {}): CommitRow => {
  return { step, generation, samplesFrom: 8 * (step - 1), samplesTo: 8 * step, digest: `d${step}`, ...more }
}
const began = (generation: number, startStep: number, startDigest: string | null = `d${startStep}`): GenerationRow => {
  return { generation, startStep, startDigest }
}
const divided = (generation: number, fromStep: number, ...shares: number[]): DivisionRow => {
  return { generation, fromStep, shares }
}
const equally = [1, 2, 3].map(generation => divided(generation, 1, 4, 4))
const fine = { lostSamples: 0, repeatedSamples: 0, digestsEqual: true, problems: [] }

test('a run whose generations follow one another is whole', () => {
  const commits = [commit(1, 1), commit(2, 1), commit(3, 3)]
  expect(checkLog(commits, [began(1, 0), began(2, 2, null), began(3, 2)], equally, 8)).toEqual(fine)
})

test('steps that were gone back behind do not count', () => {
  const commits = [commit(1, 1), commit(2, 1), commit(3, 1), commit(2, 2), commit(3, 2)]
  expect(checkLog(commits, [began(1, 0), began(2, 1)], equally, 8)).toEqual(fine)
})

test('shares hold from the step they were announced for, and make up the batch in every step', () => {
  const commits = [commit(1, 1), commit(2, 1), commit(3, 1)]
  const check = (...divisions: DivisionRow[]) => checkLog(commits, [began(1, 0)], divisions, 8).problems
  expect(check(divided(1, 1, 4, 4), divided(1, 3, 6, 2))).toEqual([])
  expect(check(divided(1, 1, 4, 4), divided(1, 3, 6, 1))).toEqual(['the shares of step 3 make up 7 samples'])
  expect(check(divided(1, 2, 4, 4)), 'a step that nobody had a share of').toEqual([
    'the shares of step 1 make up no samples',
  ])
  expect(check(divided(2, 1, 4, 4)), 'those of another generation').toHaveLength(3)
})

test('the ranks of a replica have one share', () => {
  const begun = [{ ...began(1, 0), parts: 2 }]
  expect(checkLog([commit(1, 1)], begun, [divided(1, 1, 4, 4, 4, 4)], 8)).toEqual(fine)
  const { problems } = checkLog([commit(1, 1)], begun, [divided(1, 1, 4, 4)], 8)
  expect(problems).toEqual(['the shares of step 1 make up 4 samples'])
})

test.each([
  ['a step that is missing', [commit(1, 1), commit(3, 1)], [began(1, 0)], { lostSamples: 8 }],
  [
    'a step that was made twice',
    [commit(1, 1), commit(2, 1), commit(2, 2, { samplesFrom: 0, samplesTo: 8 })],
    [began(1, 0), began(2, 1)],
    { repeatedSamples: 8 },
  ],
  ['a share that is missing', [commit(1, 1, { samplesTo: 7 })], [began(1, 0)], {}],
  [
    'a generation that began elsewhere',
    [commit(1, 1), commit(2, 2)],
    [began(1, 0), began(2, 1, 'x')],
    { digestsEqual: false },
  ],
] as const)('%s is found', (_, commits, generations, found) => {
  const verdict = checkLog(commits, generations, equally, 8)
  expect(verdict).toMatchObject(found)
  expect(verdict.problems).not.toEqual([])
})
