import { stripVTControlCharacters } from 'node:util'
import type { RunWhy, WorkerWhy } from '@skein/coordinator'
import { expect, it } from 'vitest'
import { whyLines } from './why-lines.ts'

const worker = (rank: number, facts: Partial<WorkerWhy> = {}): WorkerWhy => ({
  workerId: `w${rank}`,
  rank,
  lastSeenMs: 400,
  hasVoted: false,
  computingMs: 3400,
  usualComputeMs: 500,
  samplesPerSecond: 16.04,
  straggler: null,
  waitsIn: null,
  ...facts,
})

const why: RunWhy = {
  runId: 'r',
  phase: 'training',
  generation: 1,
  step: 40,
  waitedMs: 3200,
  summary: 'step 41 waits 3.2 s: rank 2 (w2) has not entered ring all-reduce #7',
  causes: [
    { cause: 'missing-rank', workerId: 'w2', reason: 'rank 2 (w2) has not entered ring all-reduce #7' },
    {
      cause: 'slow-link',
      workerId: 'w0',
      to: 'w1',
      reason: 'link w0 → w1: 12 MB/s in the last 3 ops, others 110 MB/s',
    },
  ],
  workers: [
    worker(0, { waitsIn: { op: 'ring all-reduce #7', forMs: 2700 } }),
    worker(1, { hasVoted: true }),
    worker(2, { straggler: { factor: 1.313, reason: '' } }),
    worker(3, { computingMs: null, lastSeenMs: null, samplesPerSecond: null }),
  ],
  failure: null,
}

const plain = (answer: RunWhy) => whyLines(answer).map(line => stripVTControlCharacters(line))

it('begins with the sentence, then other causes, then what each worker does', () => {
  expect(plain(why)).toEqual([
    why.summary,
    'also  link w0 → w1: 12 MB/s in the last 3 ops, others 110 MB/s',
    '',
    'w0  rank 0 · in ring all-reduce #7 for 2.7 s · 16.0 samples/s · seen 400 ms ago',
    'w1  rank 1 · has voted · 16.0 samples/s · seen 400 ms ago',
    'w2  rank 2 · computes for 3.4 s, usually 500 ms · 16.0 samples/s · 1.31 times as slow · seen 400 ms ago',
    'w3  rank 3 · gives no answer · link gone',
  ])
})

it('says what ended the last generation, who saw it first, and what others saw how much later', () => {
  const report = { about: 'w2', code: 'SKEIN_COLLECTIVE_PEER_LOST' }
  const failure = {
    generation: 1,
    summary: 'generation 1 failed: w1 saw it first: the lane to rank 2 closed',
    reports: [
      { ...report, workerId: 'w1', what: 'the lane to rank 2 closed', afterMs: 0 },
      { ...report, workerId: null, what: 'the link of w2 was lost', afterMs: 12 },
    ],
    ops: [],
  }
  expect(plain({ ...why, causes: [], workers: [], failure })).toEqual([
    why.summary,
    '',
    failure.summary,
    '12 ms later  coordinator: the link of w2 was lost',
  ])
})

it('lets no text of a worker steer the terminal', () => {
  const evil = { ...why, summary: 'a\u001b[2Jb', causes: [{ ...why.causes[0], reason: 'x' }] } as RunWhy
  expect(whyLines(evil)[0]).not.toContain('\u001b[2J')
})
