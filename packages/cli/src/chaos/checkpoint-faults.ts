import path from 'node:path'
import { wholeOrSkipped } from '@skein/checkpoint'
import type { Ms } from '@skein/core'
import { type RunEvent, textField } from '../run-event.ts'
import { largestFile, tear } from './break-disk.ts'
import type { Cluster } from './cluster.ts'

/** Checkpoints that there have to be before one can be torn, and another be taken. */
const numBefore = 2

/** Waits until there are checkpoints to do something to, told of from event number `from` on. */
export async function untilSaved(
  cluster: Cluster,
  { from = 0, timeoutMs }: { readonly from?: number; readonly timeoutMs: Ms },
): Promise<void> {
  const paths = new Set<string>()
  const isEnough = (event: RunEvent) => event.event === 'checkpoint' && paths.add(pathOf(event)).size >= numBefore
  await cluster.until(isEnough, `${numBefore} checkpoints`, { from, timeoutMs })
}

/**
 * The disk is full in the middle of the next checkpoint, and has room again when the run has said so. Returns what did not hold: the one before is whole,
 * and nobody was put out.
 */
export async function fillDisk(cluster: Cluster, timeoutMs: Ms): Promise<string[]> {
  const from = cluster.events.length
  const newest = pathOf(cluster.events.findLast(event => event.event === 'checkpoint'))
  await cluster.limitFiles(largestFile(newest).bytes >> 1)
  try {
    const alarm = await cluster.until(isEvent('checkpoint-failed'), 'a checkpoint to fail', { from, timeoutMs })
    const kept = textField(alarm, 'checkpoint')
    if (kept === undefined) return ['disk: the alarm names no checkpoint that stays']
    return (await isWhole(kept)) ? [] : [`disk: ${kept}, which was to stay, is not whole`]
  } finally {
    await cluster.limitFiles(undefined)
  }
}

/**
 * The newest checkpoint of the log is broken while the coordinator is away; then it is started again. Returns what did not hold: the broken one is
 * named, and the newest whole one taken.
 */
export async function tearNewest(
  cluster: Cluster,
  {
    runDir,
    how,
    timeoutMs,
  }: { readonly runDir: string; readonly how: 'cut short' | 'altered'; readonly timeoutMs: Ms },
): Promise<string[]> {
  const [newest, ...older] = await loggedCheckpoints(runDir)
  if (newest === undefined) return ['torn: the log names no checkpoint, but the run told of some']
  const file = tear(newest, how)
  let expected: string | undefined
  for (const one of older) if (expected === undefined && (await isWhole(one))) expected = one
  const from = cluster.events.length
  await cluster.startCoordinator()
  const isSkipped = (event: RunEvent) => event.event === 'checkpoint-skipped' && event['path'] === newest
  await cluster.until(isSkipped, `the coordinator to pass ${newest} over, of which ${file} is ${how}`, {
    from,
    timeoutMs,
  })
  const resume = cluster.events.slice(from).find(isEvent('run'))?.['resume']
  return resume === expected
    ? []
    : [`torn: the run goes on from ${String(resume)}; the newest whole one is ${expected}`]
}

/** The newest first. */
async function loggedCheckpoints(runDir: string): Promise<string[]> {
  const { SqliteLog, standOf } = await import('@skein/coordinator')
  const log = new SqliteLog(path.join(runDir, 'coordinator.sqlite'))
  try {
    return [...new Set(standOf(log.read())?.checkpoints.map(one => one.path))]
  } finally {
    log.close()
  }
}

/** Also false for one that is gone. */
async function isWhole(checkpoint: string): Promise<boolean> {
  const looked = await wholeOrSkipped(checkpoint).catch(() => undefined)
  return looked !== undefined && 'manifest' in looked
}

const isEvent = (kind: string) => (event: RunEvent) => event.event === kind
const pathOf = (event: RunEvent | undefined) => String(event?.['path'])
