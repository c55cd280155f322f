import { formatBytes, formatCount, formatDuration, formatLoss } from './format.ts'
import { type RunView, timeLeftMs, tokensPerSecond, type WorkerView } from './run-view.ts'
import { progressBar, sparkline } from './sparkline.ts'
import { fit, paint } from './text.ts'

const label = (word: string) => paint('dim', word.padEnd(10))

/**
 * The live view as lines for a terminal of this many columns: never wider, so that the terminal wraps none of them.
 * Pure; the same view gives the same lines. At 40 columns or fewer the bars go and the words stay.
 */
export function liveLines(view: RunView, columns: number): string[] {
  const barWidth = Math.max(0, Math.min(60, columns - 46))
  const lines = [
    `${paint('bold', 'skein')} ${view.jobName}${view.runDir === undefined ? '' : paint('dim', ` · ${view.runDir}`)}`,
    `${label('step')}${progressText(view, barWidth)}`,
    `${label('loss')}${lossText(view, barWidth)}`,
    `${label('held out')}${validationText(view)}`,
    `${label('speed')}${speedText(view)}`,
    `${label('commit')}${commitText(view)}`,
    ...view.workers.map(worker => `${label(worker.workerId)}${workerText(worker, view)}`),
    `${label('now')}${nowText(view)}`,
  ]
  return lines.map(line => fit(line, columns))
}

function progressText(view: RunView, barWidth: number): string {
  const total = view.totalSteps
  const count = total === undefined ? String(view.step) : `${view.step}/${total}`
  if (total === undefined) return count
  const fraction = total === 0 ? 1 : view.step / total
  const bar = barWidth > 0 ? ` ${paint('cyan', progressBar(fraction, barWidth))}` : ''
  const left = timeLeftMs(view)
  return `${count.padEnd(9)}${bar} ${String(Math.floor(fraction * 100)).padStart(3)} %${left === undefined ? '' : `  ${formatDuration(left)} left`}`
}

function lossText(view: RunView, width: number): string {
  if (view.loss === undefined) return paint('dim', 'no step yet')
  return `${formatLoss(view.loss).padEnd(9)} ${paint('green', sparkline(view.losses, width))}`
}

function validationText(view: RunView): string {
  const baselines = [
    view.untrainedLoss === undefined ? [] : [`untrained ${formatLoss(view.untrainedLoss)}`],
    view.baselineLoss === undefined ? [] : [`byte bigram ${formatLoss(view.baselineLoss)}`],
  ].flat()
  const compared = baselines.length === 0 ? '' : paint('dim', `   ${baselines.join(' · ')}`)
  if (view.valLoss === undefined) return `${paint('dim', 'not evaluated yet')}${compared}`
  const at = view.valStep === undefined ? '' : paint('dim', ` after step ${view.valStep}`)
  return `${formatLoss(view.valLoss)}${at}${compared}`
}

function speedText(view: RunView): string {
  const rate = tokensPerSecond(view)
  if (rate === undefined) return paint('dim', '–')
  const parts = [`${formatCount(rate)} tokens/s`]
  if (view.stepMs !== undefined) parts.push(`step ${formatDuration(view.stepMs)}`)
  if (view.computeMs !== undefined) parts.push(`compute ${formatDuration(view.computeMs)}`)
  if (view.commMs !== undefined) parts.push(`exchange ${formatDuration(view.commMs)}`)
  return parts.join(' · ')
}

function commitText(view: RunView): string {
  if (view.digest === undefined) return paint('dim', '–')
  const generation = view.generation === undefined ? '' : `generation ${view.generation} · `
  return `${generation}digest ${view.digest} · ${formatBytes(view.bytesSent)} sent`
}

function workerText(worker: WorkerView, view: RunView): string {
  const lost = worker.change === 'lost' || worker.change === 'failed'
  const parts = [
    worker.rank === undefined
      ? 'no rank yet'
      : `rank ${worker.rank}${worker.part === undefined ? '' : `, part ${worker.part}`}`,
  ]
  parts.push(lost ? paint('red', worker.change) : workerState(worker, view))
  if (worker.slowFactor !== undefined) parts.push(paint('yellow', `${worker.slowFactor.toFixed(2)} times as slow`))
  if (worker.computeMs !== undefined) parts.push(`compute ${formatDuration(worker.computeMs)}`)
  if (worker.waitMs !== undefined) parts.push(`wait ${formatDuration(worker.waitMs)}`)
  if (worker.rssBytes !== undefined) parts.push(formatBytes(worker.rssBytes))
  if (worker.backend !== undefined) parts.push(worker.backend)
  if (lost && worker.reason !== undefined) parts.push(worker.reason)
  return parts.join(' · ')
}

/** A ready worker does what the run does. */
function workerState(worker: WorkerView, view: RunView): string {
  if (worker.change !== 'ready') return worker.change
  if (view.phase === 'training') return 'training'
  return view.phase === 'stopping' ? 'finishing' : worker.change
}

function nowText(view: RunView): string {
  if (view.phase === 'failed') return paint('red', view.error?.message ?? view.note)
  if (view.heldUp !== undefined) return paint('yellow', view.heldUp)
  if (view.phase === 'training') return `${view.note} ${paint('dim', '· Ctrl-C stops with a checkpoint')}`
  return view.note
}
