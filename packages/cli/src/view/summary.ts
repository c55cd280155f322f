import { numberField, type RunEvent, textField } from '../run-event.ts'
import { formatBytes, formatCount, formatDuration, formatLoss } from './format.ts'
import type { RunView } from './run-view.ts'
import { printableLines } from './text.ts'

/** The end of a run in a few lines: what was learnt, how fast, how large, where it lies. `done` is the run's last event. */
export function summaryLines(view: RunView, done: RunEvent): string[] {
  const lines = ['', doneLine(view, done)]
  const loss = lossLine(view, done)
  if (loss !== undefined) lines.push(loss)
  const rate = numberField(done, 'tokensPerSecond')
  const peak = numberField(done, 'peakRssBytes')
  const facts = [
    rate === undefined ? [] : [`${formatCount(rate)} tokens/s`],
    peak === undefined ? [] : [`peak memory ${formatBytes(peak)} a worker`],
    [`${formatBytes(view.bytesSent)} sent`],
  ].flat()
  lines.push(`  speed       ${facts.join(' · ')}`)
  const checkpoint = textField(done, 'checkpoint') ?? view.checkpoint
  if (checkpoint !== undefined) lines.push(`  checkpoint  ${checkpoint}`)
  const sample = textField(done, 'sample')
  if (sample !== undefined && sample.trim() !== '') {
    lines.push('  sample', ...printableLines(sample.trimEnd()).map(line => `    │ ${line}`))
  }
  if (checkpoint !== undefined) {
    lines.push('', `  go on: skein generate --checkpoint ${checkpoint} --prompt "export function"`)
  }
  return lines
}

function doneLine(view: RunView, done: RunEvent): string {
  const steps = numberField(done, 'steps') ?? view.step
  const wallMs = numberField(done, 'wallMs')
  const took = wallMs === undefined ? '' : ` in ${formatDuration(wallMs)}`
  return textField(done, 'status') === 'stopped'
    ? `stopped after step ${steps} of ${view.totalSteps ?? '?'}${took}; --resume goes on from here`
    : `trained ${steps} steps${took}`
}

function lossLine(view: RunView, done: RunEvent): string | undefined {
  const loss = numberField(done, 'valLoss') ?? view.valLoss
  if (loss === undefined) return undefined
  const untrained = numberField(done, 'untrainedLoss') ?? view.untrainedLoss
  const baseline = numberField(done, 'baselineLoss') ?? view.baselineLoss
  const compared = [
    untrained === undefined ? [] : [`untrained ${formatLoss(untrained)}`],
    baseline === undefined
      ? []
      : [
          `byte bigram ${formatLoss(baseline)}: ${loss < baseline ? 'beaten' : 'not beaten'} by ${formatLoss(Math.abs(baseline - loss))}`,
        ],
  ].flat()
  return `  held out    ${formatLoss(loss)} nats${compared.length === 0 ? '' : ` (${compared.join(', ')})`}`
}
