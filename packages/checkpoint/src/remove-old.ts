import { byStepDescending } from './manifest.ts'
import type { SavedCheckpoint } from './save-checkpoint.ts'
import type { CheckpointDraft, CheckpointStore } from './store.ts'

/** What comes after a checkpoint is there: what it replaces goes, and the oldest. Never rejects: that something stays is no reason to give it up. */
export async function tidied(
  store: CheckpointStore,
  draft: Pick<CheckpointDraft, 'tidy'>,
  name: string,
  keep?: number,
): Promise<Pick<SavedCheckpoint, 'notTidied'>> {
  try {
    await draft.tidy()
    await removeOld(store, name, keep)
    return {}
  } catch (error) {
    return { notTidied: error instanceof Error ? error.message : String(error) }
  }
}

/** Removes the oldest checkpoints beyond `keep`, the newest one included; 0 keeps all. */
async function removeOld(store: CheckpointStore, newest: string, keep = 0): Promise<void> {
  if (keep <= 0) return
  const others = (await store.names()).filter(name => name !== newest).sort(byStepDescending)
  for (const name of others.slice(keep - 1).reverse()) await store.remove(name)
}
