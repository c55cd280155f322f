import type { GenerationFailure, RunWhy, WorkerWhy } from '@skein/coordinator'
import { formatDuration } from './format.ts'
import { oneLine, paint } from './text.ts'

/** What holds a run up, as the lines of one screen: the sentence, other causes, a line for each worker, the last failure. Pure. */
export function whyLines(why: RunWhy): string[] {
  const { causes, failure } = why
  const summary = oneLine(why.summary)
  return [
    causes.length === 0 ? summary : paint('bold', summary),
    ...causes.slice(1).map(({ reason }) => `${paint('dim', 'also')}  ${oneLine(reason)}`),
    ...(why.workers.length === 0 ? [] : ['', ...workerLines(why)]),
    ...(failure === null ? [] : ['', ...failureLines(failure)]),
  ]
}

function workerLines({ workers, causes }: RunWhy): string[] {
  const names = workers.map(({ workerId }) => oneLine(workerId))
  const width = Math.max(...names.map(name => name.length))
  return workers.map((worker, i) => {
    const isNamed = causes.some(({ workerId }) => workerId === worker.workerId)
    const name = (names[i] ?? '').padEnd(width)
    return `${isNamed ? paint('yellow', name) : name}  ${workerText(worker)}`
  })
}

function workerText(worker: WorkerWhy): string {
  const { rank, lastSeenMs, hasVoted, computingMs, usualComputeMs, samplesPerSecond, straggler, waitsIn } = worker
  const parts = [rank === null ? 'no rank yet' : `rank ${rank}`]
  if (waitsIn !== null) parts.push(`in ${oneLine(waitsIn.op)} for ${formatDuration(waitsIn.forMs)}`)
  else if (hasVoted) parts.push('has voted')
  else if (computingMs !== null) {
    const usually = usualComputeMs === null ? '' : `, usually ${formatDuration(usualComputeMs)}`
    parts.push(`computes for ${formatDuration(computingMs)}${usually}`)
  } else parts.push('gives no answer')
  if (samplesPerSecond !== null) parts.push(`${samplesPerSecond.toPrecision(3)} samples/s`)
  if (straggler !== null) parts.push(paint('yellow', `${straggler.factor.toFixed(2)} times as slow`))
  parts.push(lastSeenMs === null ? paint('red', 'link gone') : `seen ${formatDuration(lastSeenMs)} ago`)
  return parts.join(' · ')
}

function failureLines({ summary, reports }: GenerationFailure): string[] {
  const later = reports.slice(1).map(({ workerId, what, afterMs }) => {
    const who = workerId === null ? 'coordinator' : oneLine(workerId)
    return `${paint('dim', `${formatDuration(afterMs)} later`)}  ${who}: ${oneLine(what)}`
  })
  return [oneLine(summary), ...later]
}
