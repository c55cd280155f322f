import fs from 'node:fs/promises'
import path from 'node:path'
import { byStepDescending, checkpointFolderPattern, latestFileName, manifestFileName } from './manifest.ts'
import { sizeOf } from './folders.ts'
import { beginLocally, joinLocally } from './local-draft.ts'
import type { CheckpointStore } from './store.ts'

/**
 * Checkpoints as folders in `root`. One is written into a sibling folder, everything synced to the disk, the manifest last, and `LATEST` beside
 * it, all that takes room; then both are renamed.
 */
export function localStore(root: string): CheckpointStore {
  const inFolder = (name: string, file: string) => path.join(root, name, file)
  return {
    location: root,
    locationOf: name => path.join(root, name),
    folderOf: name => path.join(root, name),
    async names() {
      const names = (await fs.readdir(root)).filter(name => checkpointFolderPattern.test(name)).sort(byStepDescending)
      const latest = await fs.readFile(path.join(root, latestFileName), 'utf8').catch(() => '')
      const named = names.filter(name => name === latest.trim())
      return [...named, ...names.filter(name => !named.includes(name))]
    },
    sizeOf: (name, file) => sizeOf(inFolder(name, file)),
    async *read(name, file, signal) {
      const handle = await fs.open(inFolder(name, file))
      const options = { highWaterMark: 1024 * 1024, autoClose: false, ...(signal && { signal }) }
      try {
        for await (const piece of handle.createReadStream(options)) yield piece as Buffer
      } finally {
        await handle.close()
      }
    },
    begin: (name, generation) => beginLocally(root, name, generation),
    join: (name, generation) => joinLocally(root, name, generation),
    async remove(name) {
      await fs.rm(inFolder(name, manifestFileName), { force: true })
      await fs.rm(path.join(root, name), { recursive: true, force: true })
    },
  }
}
