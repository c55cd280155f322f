import { expect, test } from 'vitest'
import { otherRunError, type Welcome } from './same-run.ts'

const job = {
  name: 'gpt',
  data: { kind: 'text', paths: ['/here/corpus'], context: 32 },
  optimizer: { lr: 0.001, betas: [0.9, 0.99] },
  mesh: { dp: 2, pp: 1 },
  elastic: { min: 1, max: 4 },
  checkpoint: { every: 100, to: '/here/runs' },
  steps: 1000,
  jobFile: '/here/gpt.job.yaml',
  sources: { steps: 'job' },
}
const welcome = (changed: object = {}, runId = 'r'): Welcome => ({
  type: 'welcome',
  runId,
  runDir: `/runs/${runId}`,
  maxWorkers: 4,
  job: { ...job, ...changed },
})

test('a coordinator that was started again with the same job, or on another machine, leads the same run', () => {
  expect(otherRunError(welcome(), welcome())).toBeUndefined()
  const elsewhere = {
    name: 'other',
    data: { ...job.data, paths: ['/there/corpus'] },
    mesh: { dp: 3, pp: 1 },
    elastic: { min: 2 },
    checkpoint: { every: 100, to: '/there/runs' },
    jobFile: '/there/other.job.yaml',
    sources: { steps: 'flag' },
  }
  expect(otherRunError(welcome(), welcome(elsewhere))).toBeUndefined()
})

test('another run is told of by both names', () => {
  expect(otherRunError(welcome({}, 'r'), welcome({}, 's'))).toMatchObject({
    code: 'SKEIN_WORKER_OTHER_RUN',
    retry: 'never',
    what: 'the coordinator leads run s, and this worker is in run r',
  })
})

test('of another job the values that differ are named, with what they were', () => {
  expect(otherRunError(welcome(), welcome({ steps: 2000 }))).toMatchObject({
    code: 'SKEIN_WORKER_OTHER_JOB',
    what: expect.stringContaining('steps is 2000, was 1000') as unknown,
    details: { differences: ['steps'] },
  })
  const changed = {
    optimizer: { lr: 0.01, betas: [0.9, 0.95] },
    data: { ...job.data, context: 64 },
    schedule: { name: '1f1b' },
  }
  expect(otherRunError(welcome(), welcome(changed))).toMatchObject({
    what: expect.stringMatching(
      /: data\.context is 64, was 32; optimizer\.lr is 0\.01, was 0\.001; optimizer\.betas .*, and 1 more$/,
    ) as unknown,
    details: { differences: ['data.context', 'optimizer.lr', 'optimizer.betas', 'schedule'] },
  })
  expect(otherRunError(welcome({ schedule: { name: 'gpipe' } }), welcome())).toMatchObject({
    what: expect.stringContaining('schedule is absent, was {"name":"gpipe"}') as unknown,
  })
})
