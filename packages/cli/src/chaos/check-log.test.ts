import { expect, test } from 'vitest'
import { checkLog, type CommitRow, type GenerationRow } from './check-log.ts'

const commit = (step: number, generation: number, more: Partial<CommitRow> = {}): CommitRow => {
  return { step, generation, samplesFrom: 8 * (step - 1), samplesTo: 8 * step, digest: `d${step}`, ...more }
}
const began = (generation: number, startStep: number, startDigest: string | null = `d${startStep}`): GenerationRow => {
  return { generation, startStep, startDigest }
}
const fine = { lostSamples: 0, repeatedSamples: 0, digestsEqual: true, problems: [] }

test('a run whose generations follow one another is whole', () => {
  const commits = [commit(1, 1), commit(2, 1), commit(3, 3)]
  expect(checkLog(commits, [began(1, 0), began(2, 2, null), began(3, 2)], 8)).toEqual(fine)
})

test('steps that were gone back behind do not count', () => {
  const commits = [commit(1, 1), commit(2, 1), commit(3, 1), commit(2, 2), commit(3, 2)]
  expect(checkLog(commits, [began(1, 0), began(2, 1)], 8)).toEqual(fine)
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
  const verdict = checkLog(commits, generations, 8)
  expect(verdict).toMatchObject(found)
  expect(verdict.problems).not.toEqual([])
})
