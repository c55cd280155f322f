import { numberField, type RunEvent, textField } from '../run-event.ts'
import { oneLine } from './text.ts'
import { formatBytes, formatCount, formatDuration, formatLoss } from './format.ts'
import { type RunView, timeLeftMs, tokensPerSecond } from './run-view.ts'

/** Steps between two lines of a run of `totalSteps`: about forty lines in all. */
export function plainLineEvery(totalSteps: number | undefined): number {
  if (totalSteps === undefined) return 10
  return Math.max(1, Math.round(totalSteps / 40))
}

/** The line for a pipe or a log file after `event` led to `view`; undefined when this event deserves none. Pure. */
export function plainLine(view: RunView, event: RunEvent): string | undefined {
  const line = rawLine(view, event)
  return line === undefined ? undefined : oneLine(line)
}

function rawLine(view: RunView, event: RunEvent): string | undefined {
  switch (event.event) {
    case 'run':
      return `run of ${view.jobName}: ${view.totalSteps ?? '?'} steps${view.runDir === undefined ? '' : ` in ${view.runDir}`}`
    case 'member':
      return memberLine(event)
    case 'step':
      return stepLine(view)
    case 'straggler':
      return `worker ${textField(event, 'workerId') ?? '?'} is slow: ${textField(event, 'reason') ?? 'no reason given'}`
    case 'straggler-gone':
      return `worker ${textField(event, 'workerId') ?? '?'} is slow no more: ${textField(event, 'reason') ?? 'no reason given'}`
    case 'held-up':
      return view.heldUp
    case 'eval':
      return evalLine(view)
    case 'start':
      return view.note
    case 'checkpoint':
      return `checkpoint after step ${numberField(event, 'step') ?? '?'}: ${textField(event, 'path') ?? '?'}`
    case 'checkpoint-failed':
      return `CHECKPOINT FAILED after step ${numberField(event, 'step') ?? '?'}, the training goes on: ${textField(event, 'what') ?? '?'}`
    case 'checkpoint-skipped':
    case 'mirror-late':
    case 'shares':
    case 'stopping':
      return view.note
    default:
      return undefined
  }
}

function memberLine(event: RunEvent): string {
  const reason = textField(event, 'reason')
  const name = textField(event, 'workerId') ?? 'a worker'
  return `worker ${name} ${textField(event, 'change') ?? 'changed'}${reason === undefined ? '' : `: ${reason}`}`
}

function stepLine(view: RunView): string | undefined {
  const every = plainLineEvery(view.totalSteps)
  const first = view.step === view.startStep + 1
  if (!first && view.step % every !== 0 && view.step !== view.totalSteps) return undefined
  const parts = [`step ${view.step}${view.totalSteps === undefined ? '' : `/${view.totalSteps}`}`]
  if (view.loss !== undefined) parts.push(`loss ${formatLoss(view.loss)}`)
  const rate = tokensPerSecond(view)
  if (rate !== undefined) parts.push(`${formatCount(rate)} tokens/s`)
  if (view.stepMs !== undefined) parts.push(`step ${formatDuration(view.stepMs)}`)
  if (view.commMs !== undefined) parts.push(`exchange ${formatDuration(view.commMs)}`)
  if (view.digest !== undefined) parts.push(`digest ${view.digest}`)
  parts.push(`${formatBytes(view.bytesSent)} sent`)
  const left = timeLeftMs(view)
  if (left !== undefined && left > 0) parts.push(`${formatDuration(left)} left`)
  return parts.join('  ')
}

function evalLine(view: RunView): string | undefined {
  if (view.valLoss === undefined) return undefined
  const compared = [
    view.untrainedLoss === undefined ? [] : [`untrained ${formatLoss(view.untrainedLoss)}`],
    view.baselineLoss === undefined ? [] : [`byte bigram ${formatLoss(view.baselineLoss)}`],
  ].flat()
  const beside = compared.length === 0 ? '' : ` (${compared.join(', ')})`
  return `held-out loss after step ${view.valStep ?? view.step}: ${formatLoss(view.valLoss)}${beside}`
}
