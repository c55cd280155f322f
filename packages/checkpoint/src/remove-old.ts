import { byStepDescending } from './manifest.ts'
import { readManifestOf } from './read-manifest.ts'
import type { SavedCheckpoint } from './save-checkpoint.ts'
import type { CheckpointDraft, CheckpointStore } from './store.ts'

/** The checkpoint that has just been published. */
interface Saved {
  readonly name: string
  readonly generation: number
}

/** What comes after a checkpoint is there: what it replaces goes, and the oldest. Never rejects: that something stays is no reason to give it up. */
export async function tidied(
  store: CheckpointStore,
  draft: Pick<CheckpointDraft, 'tidy'>,
  saved: Saved,
  keep?: number,
): Promise<Pick<SavedCheckpoint, 'notTidied'>> {
  try {
    await draft.tidy()
    await removeOld(store, saved, keep)
    return {}
  } catch (error) {
    return { notTidied: error instanceof Error ? error.message : String(error) }
  }
}

/**
 * Removes the oldest checkpoints beyond `keep`, the one just saved included; 0 keeps all. One with a higher step is of a past that was given up, by a resume
 * from an older step in the same place: it goes before all others. Unless a newer generation wrote it, or it is not whole: that is left to its writer.
 */
async function removeOld(store: CheckpointStore, { name, generation }: Saved, keep = 0): Promise<void> {
  if (keep <= 0) return
  const others = (await store.names()).filter(other => other !== name).sort(byStepDescending)
  const isHigher = (other: string) => byStepDescending(other, name) < 0
  const givenUp: string[] = []
  for (const other of others.filter(isHigher)) {
    const manifest = await readManifestOf(store, other).catch(() => undefined)
    if (manifest !== undefined && manifest.generation <= generation) givenUp.push(other)
  }
  const oldestLast = [...others.filter(other => !isHigher(other)), ...givenUp]
  for (const other of oldestLast.slice(keep - 1).reverse()) await store.remove(other)
}
