import {
  type ComputeOp,
  type CopyOp,
  describeOp,
  type FillOp,
  isCompute,
  isCopy,
  isFill,
  isVocabulary,
  rankOf,
  type Schedule,
  stageAlong,
  type VocabularyOp,
} from './schedule.ts'
import type { TimedOp } from './simulate.ts'

/** What ran where when, simulated or executed: per rank its ops, in ms of one clock. */
export interface Timelines {
  /** "simulated", "executed". */
  readonly name: string
  readonly ops: readonly (readonly TimedOp[])[]
}

/** An event of the Trace Event Format; times in µs. */
export interface TraceEvent {
  readonly name: string
  /** X a span, M a name, s and f the ends of an arrow. */
  readonly ph: 'X' | 'M' | 's' | 'f'
  readonly pid: number
  readonly tid: number
  readonly ts?: number
  readonly dur?: number
  readonly cat?: string
  readonly id?: number
  readonly bp?: 'e'
  readonly args?: Readonly<Record<string, string | number>>
}

/** A file that chrome://tracing and ui.perfetto.dev open, as JSON. */
export interface Trace {
  readonly traceEvents: readonly TraceEvent[]
  readonly displayTimeUnit: 'ms'
}

/**
 * Timelines of one schedule as a trace: each a process, each rank a thread of it (and one more for its copies), and an arrow for every
 * message from the op that made the tensor to the op that takes it. Several side by side begin at the same time: 0 is the first op of each.
 * @see Google, Trace Event Format (2016)
 */
export function traceOf(schedule: Schedule, timelines: readonly Timelines[]): Trace {
  const arrows = { next: 0 }
  return { traceEvents: timelines.flatMap((one, pid) => eventsOf(schedule, one, pid, arrows)), displayTimeUnit: 'ms' }
}

function eventsOf(
  schedule: Schedule,
  { name, ops }: Timelines,
  pid: number,
  arrows: { next: number },
): readonly TraceEvent[] {
  const begin = ops.flat().reduce((least, { start }) => Math.min(least, start), Number.POSITIVE_INFINITY)
  const us = (ms: number) => Number(((ms - begin) * 1000).toFixed(3))
  const events: TraceEvent[] = [
    { name: 'process_name', ph: 'M', pid, tid: 0, args: { name: `${schedule.name}, ${name}` } },
    { name: 'process_sort_index', ph: 'M', pid, tid: 0, args: { sort_index: pid } },
  ]
  const passes = new Map<string, { readonly timed: TimedOp; readonly tid: number }>()
  for (const [rank, list] of ops.entries()) {
    events.push({ name: 'thread_name', ph: 'M', pid, tid: 2 * rank, args: { name: `rank ${rank}` } })
    if (list.some(({ op }) => isCopy(op)))
      events.push({ name: 'thread_name', ph: 'M', pid, tid: 2 * rank + 1, args: { name: `rank ${rank}, copies` } })
    for (const timed of list) {
      const { op, start, end } = timed
      if (!isCompute(op) && !isCopy(op) && !isVocabulary(op) && !isFill(op)) continue
      const tid = isCopy(op) ? 2 * rank + 1 : 2 * rank
      const dur = Number((us(end) - us(start)).toFixed(3))
      events.push({ name: labelOf(schedule, op), cat: op.op, ph: 'X', pid, tid, ts: us(start), dur, args: argsOf(op) })
      if (isCompute(op)) passes.set(keyOf(directionOf(op), op), { timed, tid })
    }
  }
  for (const { timed, tid } of passes.values()) {
    const op = timed.op as ComputeOp
    const direction = directionOf(op)
    const next =
      direction === 'none' ? undefined : stageAlong(schedule, op.stage, op.microbatch, direction === 'up' ? +1 : -1)
    if (next === undefined || rankOf(schedule, next, op.microbatch) === rankOf(schedule, op.stage, op.microbatch))
      continue
    const taker = passes.get(keyOf(direction, { ...op, stage: next }))
    if (taker === undefined) continue
    const arrow = { name: direction === 'up' ? 'activation' : 'gradient', cat: 'message', id: arrows.next++, pid }
    // An arrow belongs to the span around its time, and the end of a span is not in it.
    const last = us(timed.start) + (us(timed.end) - us(timed.start)) * 0.999
    events.push({ ...arrow, ph: 's', tid, ts: Number(last.toFixed(3)) })
    events.push({ ...arrow, ph: 'f', bp: 'e', tid: taker.tid, ts: us(taker.timed.start) })
  }
  return events
}

/** Along which way its result goes on: activations up, gradients of inputs down. */
function directionOf({ op }: ComputeOp): 'up' | 'down' | 'none' {
  return op === 'F' ? 'up' : op === 'B' || op === 'BW' ? 'down' : 'none'
}

function keyOf(direction: string, { op, stage, microbatch, slice = 0 }: ComputeOp): string {
  return `${direction === 'none' ? op : direction} ${stage} ${microbatch} ${slice}`
}

/** "F3", with the stage where a rank has several: spans of a kind get a colour by the letters. */
function labelOf({ ranks, stages, pipes }: Schedule, op: ComputeOp | CopyOp | VocabularyOp | FillOp): string {
  if (isFill(op)) return `fill ${op.piece} layer ${op.layer}`
  if (isVocabulary(op)) return `${op.op} ${op.microbatch}`
  const slice = op.slice === undefined ? '' : `.${op.slice}`
  const stage = stages > ranks || pipes.length > 1 ? ` stage ${op.stage}` : ''
  return `${op.op} ${op.microbatch}${slice}${stage}`
}

function argsOf(op: ComputeOp | CopyOp | VocabularyOp | FillOp): Readonly<Record<string, string | number>> {
  if (isFill(op)) return { op: describeOp(op), layer: op.layer, piece: op.piece }
  if (isVocabulary(op)) return { op: describeOp(op), microbatch: op.microbatch }
  const { stage, microbatch, slice } = op
  return { op: describeOp(op), stage, microbatch, ...(slice === undefined ? {} : { slice }) }
}
