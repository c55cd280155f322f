import {
  CheckpointErrors,
  findCheckpoint,
  resolveLocation,
  type SkippedCheckpoint,
  type StoreEnvironment,
  wholeOrSkipped,
} from '@skein/checkpoint'
import { asSkeinError, SkeinError } from '@skein/core'
import type { RecoveredEvent } from '@skein/membership'
import type { Logger } from '@skein/telemetry'
import type { CoordinatorConfig } from './config.ts'
import { CoordinatorErrors } from './errors.ts'
import { heldCommit, type LoggedStand, pastOf, type RunHistory, standOf } from './run-history.ts'

export interface Recovered {
  readonly recovered: RecoveredEvent
  /** Checkpoints that are newer than the one it names, and not whole. */
  readonly skipped: readonly SkippedCheckpoint[]
}

/** Where this run begins: at nothing, or at a checkpoint and what the log says about its step. */
export async function recover(parts: {
  readonly config: CoordinatorConfig
  readonly history: RunHistory
  readonly runDir: string
  readonly environment: StoreEnvironment
  readonly logger: Logger
}): Promise<Recovered> {
  const { config, history, runDir, environment, logger } = parts
  const past = pastOf(history)
  const stand = config.continueRun ? standOf(history) : undefined
  if (stand !== undefined) {
    const { checkpoints, ...known } = stand
    const samplesTo = stand.samplesTo ?? stand.step * config.globalBatch
    const { checkpoint, skipped } = await firstWhole(checkpoints, environment, logger)
    return {
      recovered: { type: 'recovered', ...known, samplesTo, checkpoint, untrainedLoss: past.untrainedLoss },
      skipped,
    }
  }
  if (config.resume === undefined) {
    if (past.lastStep > 0) throw runExists(runDir, past.lastStep, past.lastCheckpoint?.path)
    const recovered: RecoveredEvent = {
      type: 'recovered',
      generation: past.lastGeneration,
      step: 0,
      digests: undefined,
      samplesTo: 0,
      checkpoint: undefined,
      members: [],
      untrainedLoss: undefined,
    }
    return { recovered, skipped: [] }
  }
  const { path: resume, manifest, skipped } = await findCheckpoint(resolveLocation(config.resume), { environment })
  const logged = heldCommit(history, manifest.step)
  const isWhole = config.parts === 1 && (manifest.parts ?? 1) === 1
  const recovered: RecoveredEvent = {
    type: 'recovered',
    generation: past.lastGeneration,
    step: manifest.step,
    // Parts are cut anew, maybe elsewhere: nothing can be said of theirs.
    digests: isWhole ? (logged?.digests ?? [manifest.digest]) : undefined,
    samplesTo: logged?.samplesTo ?? manifest.samplesSeen,
    checkpoint: { step: manifest.step, path: resume },
    members: [],
    untrainedLoss: past.untrainedLoss,
  }
  return { recovered, skipped }
}

/**
 * Of what the log names, the newest first: what retention has removed is passed over silently, what is damaged is said. One that cannot be looked
 * at now, as its place does not answer, counts as there: the members may hold the state anyway, and where they do not, nobody begins anew instead.
 */
async function firstWhole(
  logged: LoggedStand['checkpoints'],
  environment: StoreEnvironment,
  logger: Logger,
): Promise<{ readonly checkpoint: RecoveredEvent['checkpoint']; readonly skipped: readonly SkippedCheckpoint[] }> {
  const skipped: SkippedCheckpoint[] = []
  for (const { step, path } of logged) {
    const checkpoint = { step, path }
    try {
      const looked = await wholeOrSkipped(path, { environment })
      if ('manifest' in looked) return { checkpoint, skipped }
      skipped.push(looked)
    } catch (error) {
      if (asSkeinError(error).code !== CheckpointErrors.NOT_FOUND.code) {
        logger.warn({ err: error, path }, 'checkpoint.not-looked-at')
        return { checkpoint, skipped }
      }
      logger.debug({ err: error, path }, 'checkpoint.gone')
    }
  }
  return { checkpoint: undefined, skipped }
}

/** A new run here would be the end of the one that was meant: its workers would come, and begin with it. @throws SKEIN_COORDINATOR_NO_RUN */
export function assertHasRun({ runId }: RunHistory, runDir: string): void {
  if (runId !== undefined) return
  throw new SkeinError(CoordinatorErrors.NO_RUN, {
    what: `${runDir} holds no run to go on with`,
    why: 'it is another folder, or no coordinator has begun a run there yet',
    todo: 'pass the folder of the run; to begin one, leave --continue out',
    details: { runDir },
  })
}

function runExists(runDir: string, lastStep: number, checkpoint: string | undefined): SkeinError {
  return new SkeinError(CoordinatorErrors.RUN_EXISTS, {
    what: `${runDir} holds the log of a run with ${lastStep} committed steps`,
    why: 'a new run would mix with it',
    todo: `choose another run folder, or go on with it: --continue, or --resume ${checkpoint ?? 'CHECKPOINT'}`,
    details: { runDir, lastStep },
  })
}
