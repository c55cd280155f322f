import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { TensorFlowBinding } from '../runtime/binding.ts'

/** Loads a SavedModel without variables and returns the addon's session id. The addon reads from a folder only; it keeps nothing open, so the folder is gone on return. */
export function loadSession(binding: TensorFlowBinding, savedModel: Uint8Array): number {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'skein-graph-'))
  try {
    writeFileSync(path.join(folder, 'saved_model.pb'), savedModel)
    return binding.loadSavedModel(folder, 'serve')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
