import { byStepDescending } from './manifest.ts'
import type { CheckpointStore } from './store.ts'

/** Removes the oldest checkpoints beyond `keep`, the newest one included; 0 keeps all. */
export async function removeOld(store: CheckpointStore, newest: string, keep = 0): Promise<void> {
  if (keep <= 0) return
  const others = (await store.names()).filter(name => name !== newest).sort(byStepDescending)
  for (const name of others.slice(keep - 1).reverse()) await store.remove(name)
}
