import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { scheduleNames } from '@skein/schedule'
import { runCommandLine } from '../program.ts'

let out = ''
beforeEach(() => {
  out = ''
  for (const stream of [process.stdout, process.stderr]) {
    vi.spyOn(stream, 'write').mockImplementation(text => {
      out += String(text)
      return true
    })
  }
})
afterEach(() => vi.restoreAllMocks())

const schedule = (...args: string[]) => runCommandLine(['schedule', ...args])

test('draws a schedule, a rank a line', async () => {
  expect(await schedule('draw', 'zb-v', '--stages', '4', '--microbatches', '8')).toBe(0)
  expect(out).toMatch(/^zb-v: 4 ranks with 2 stages each, 8 microbatches, time 25\.5, idle 5\.9 %/u)
  expect(out).toContain('r0 F0F1F2F3F4F5F6f0b0w0f1b1w1')
  expect(out.match(/^r\d /gmu)).toHaveLength(4)
})

test('draws it as SVG, with costs of passes and hop', async () => {
  expect(await schedule('draw', '1f1b', '--stages', '2', '--microbatches', '2', '--costs', '2,3,4,1', '--svg')).toBe(0)
  expect(out).toMatch(/^<svg /u)
  expect(out).toContain('<title>rank 1: F of stage 1, microbatch 0, 3.000 to 5.000</title>')
})

interface Answer {
  readonly makespan: number
  readonly bubble: number
  readonly peakActivations: number[]
  readonly ops: { op: string; stage?: number; microbatch?: number; chunk?: number; peer?: number }[][]
}

test('gives the ops of every rank with their messages, and what they come to', async () => {
  expect(await schedule('ops', 'interleaved', '--stages', '2', '--microbatches', '2', '--chunks', '2', '--json')).toBe(
    0,
  )
  const answer = JSON.parse(out) as Answer
  expect(answer).toMatchObject({ makespan: 7.5, peakActivations: [2, 1.5] })
  expect(answer.bubble).toBeCloseTo(1.5 / 7.5, 9)
  expect(answer.ops).toHaveLength(2)
  expect(answer.ops[0]?.filter(({ op }) => op === 'F')).toEqual([
    { op: 'F', stage: 0, microbatch: 0, chunk: 0 },
    { op: 'F', stage: 0, microbatch: 1, chunk: 0 },
    { op: 'F', stage: 2, microbatch: 0, chunk: 1 },
    { op: 'F', stage: 2, microbatch: 1, chunk: 1 },
  ])
  expect(answer.ops[1]).toContainEqual({ op: 'sendActivation', stage: 1, microbatch: 0, chunk: 0, peer: 0 })
  expect(answer.ops[0]?.at(-1)).toEqual({ op: 'update' })
})

test('prints them in words without --json', async () => {
  expect(await schedule('ops', 'gpipe', '--stages', '2', '--microbatches', '1')).toBe(0)
  expect(out.split('\n').slice(1, 3)).toEqual([
    'rank 0: recvGradient0.0<1 F0.0 sendActivation0.0>1 BW0.0 update',
    'rank 1: recvActivation1.0<0 F1.0 BW1.0 sendGradient1.0>0 update',
  ])
})

test('compares all that there are for such numbers, the quickest first, and says why others are not there', async () => {
  expect(await schedule('compare', '--stages', '4', '--microbatches', '6')).toBe(0)
  const lines = out.trimEnd().split('\n')
  expect(lines[0]).toMatch(/^schedule +stages a rank +time +without barrier +idle +held at most +messages$/u)
  const oneFOneB = lines.find(line => line.startsWith('1f1b'))
  expect(oneFOneB?.split(/ {2,}/u)).toEqual(['1f1b', '1', '27', '27', '33.3 %', '4', '36'])
  expect(lines).toContain('not there: zb-v: pass at least 7 microbatches')
  // Its microbatches run on, so that the pipe is filled once.
  const pipedream = lines.find(line => line.startsWith('pipedream'))
  expect(pipedream?.split(/ {2,}/u)).toEqual(['pipedream', '1', '27', '18', '33.3 %', '4', '36'])
  out = ''
  expect(await schedule('compare', '--stages', '4', '--microbatches', '8', '--costs', '1,1.3,0.7,0.2', '--json')).toBe(
    0,
  )
  const { schedules } = JSON.parse(out) as { schedules: { schedule: string; makespan: number }[] }
  const times = schedules.map(({ makespan }) => makespan)
  expect(times).toEqual(times.toSorted((a, b) => a - b))
  expect(schedules.map(one => one.schedule).sort()).toEqual([...scheduleNames].sort())
})

test.each(['0.5', '1', '1.5', '2', '3'])('compares with a cap of %s, for the rules that take one', async cap => {
  expect(await schedule('compare', '--stages', '4', '--microbatches', '8', '--cap', cap, '--json')).toBe(0)
  const { schedules, refused } = JSON.parse(out) as {
    schedules: { schedule: string; peakActivations: number }[]
    refused: { name: string; reason: string }[]
  }
  const held = new Map(schedules.map(one => [one.schedule, one.peakActivations]))
  expect(held.get('1f1b')).toBe(4)
  for (const name of ['auto', 'skippipe', 'zeropp']) {
    const reason = refused.find(one => one.name === name)?.reason
    if (Number(cap) < (name === 'zeropp' ? 2 : 1)) expect(reason).toMatch(/pass a cap of at least [12] activation/u)
    else expect(held.get(name)).toBeLessThanOrEqual(Number(cap))
  }
})

test('gives its times as a trace', async () => {
  expect(await schedule('trace', '1f1b', '--stages', '2', '--microbatches', '2', '--costs', '2,3,4,1')).toBe(0)
  const { traceEvents } = JSON.parse(out) as { traceEvents: object[] }
  expect(traceEvents).toContainEqual(expect.objectContaining({ name: 'F 0', ph: 'X', tid: 2, ts: 3000, dur: 2000 }))
})

test('shows what a change makes of it', async () => {
  const peakOf = async (...args: string[]) => {
    out = ''
    expect(await schedule('ops', '1f1b', '--stages', '4', '--microbatches', '8', '--json', ...args)).toBe(0)
    return (JSON.parse(out) as Answer).peakActivations
  }
  expect(await peakOf()).toEqual([4, 3, 2, 1])
  expect(await peakOf('--with', 'recompute')).toEqual([1, 1, 1, 1])
  expect(await peakOf('--with', '2bp')).toEqual([8, 8, 8, 8])
  expect(await peakOf('--with', 'offload', '--costs', '1,1,1,0,0.5')).toEqual([2, 2, 2, 1])
  expect(await peakOf('--with', 'sharded,validated')).toEqual([4, 3, 2, 1])
})

test.each([
  [['draw', '1f1b', '--stages', '2', '--microbatches', '2', '--with', 'magic'], /--with is "magic".*2bp, recompute/su],
  [['draw', 'zb-w', '--stages', '4', '--microbatches', '8'], /did you mean zb-v\?/u],
  [['draw', 'zb-v', '--stages', '4', '--microbatches', '3'], /pass at least 7 microbatches/u],
  [['draw', 'pipedream', '--stages', '4', '--microbatches', '8', '--with', '2bp'], /updates after every microbatch/u],
  [['draw', '1f1b', '--stages', '2', '--microbatches', '2', '--fill', '0.0000000001'], /columns.*--svg/su],
  [['draw', '1f1b', '--stages', '4', '--microbatches', '8', '--cap', '1'], /cap of 1\b.*leave cap out/su],
  [['draw', 'zeropp', '--stages', '2', '--microbatches', '8', '--chunks', '1', '--cap', '1'], /cap of at least 2/u],
  [['draw', 'skippipe', '--stages', '4', '--microbatches', '8', '--cap', '0.5'], /cap of at least 1/u],
  [['ops', 'gpipe', '--stages', '0', '--microbatches', '3'], /--stages is "0"/u],
  [['ops', 'gpipe', '--stages', '2', '--microbatches', '3', '--costs', '1,x'], /--costs is "1,x".*f,b,w/su],
])('refuses %j with what is wrong and what would do', async (args, message) => {
  expect(await schedule(...args)).not.toBe(0)
  expect(out).toMatch(message)
})

test('fills idle time with frozen layers: the same time, each layer once, and where what it makes goes', async () => {
  const sizes = ['--stages', '3', '--microbatches', '6']
  expect(await schedule('ops', '1f1b', ...sizes, '--fill', '1,0.5', '--fill-cuts', '2', '--json')).toBe(0)
  const answer = JSON.parse(out) as Answer & { frozen: unknown; messages: number[][] }
  expect(answer).toMatchObject({ makespan: 24, frozen: { layers: 2, cuts: 2, lead: 6 } })
  const fills = answer.ops.flatMap((list, rank) =>
    list.flatMap(op =>
      op.op === 'fill' ? [{ rank, ...(op as unknown as { layer: number; piece: number; goesTo?: number }) }] : [],
    ),
  )
  expect(fills).toHaveLength(24)
  expect(fills.filter(({ goesTo }) => goesTo === 0).map(({ layer }) => layer)).toEqual(
    Array.from({ length: 12 }, () => 1),
  )
  const away = fills.filter(({ layer, rank }) => layer === 1 && rank === 2).length
  // Two neighbours exchange 6 activations and 6 gradients; rank 2 is not one of rank 0.
  expect(answer.messages[2]?.[0]).toBe(away)
  expect(away).toBeGreaterThan(0)
  out = ''
  expect(await schedule('draw', '1f1b', ...sizes, '--fill', '1')).toBe(0)
  expect(out).toMatch(/^1f1b filled: .* time 24, /u)
  expect(out).toMatch(/^r2 #\w/mu)
  expect(out).toContain('# is a frozen layer')
})

test('says what is wrong with what was to be filled in', async () => {
  const sizes = ['--stages', '3', '--microbatches', '6']
  expect(await schedule('ops', '1f1b', ...sizes, '--fill', '1,0')).toBe(2)
  expect(out).toMatch(/--fill is "1,0"/u)
  out = ''
  expect(await schedule('ops', '1f1b', ...sizes, '--fill-cuts', '2')).toBe(2)
  expect(out).toMatch(/without --fill/u)
  out = ''
  expect(await schedule('ops', '1f1b', ...sizes, '--fill', '1', '--with', 'validated')).not.toBe(0)
  expect(out).toMatch(/its steps run into one another/u)
})
