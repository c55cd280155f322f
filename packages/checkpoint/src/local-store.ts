import fs from 'node:fs/promises'
import path from 'node:path'
import { byStepDescending, checkpointFolderPattern, latestFileName, manifestFileName } from './manifest.ts'
import type { CheckpointDraft, CheckpointStore } from './store.ts'
import { writeFile } from './write-safetensors.ts'

const temporaryPrefix = '.writing-'
const replacedPrefix = '.replaced-'

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
    sizeOf: (name, file) =>
      fs.stat(inFolder(name, file)).then(
        stat => stat.size,
        (error: unknown) => {
          if (isMissing(error)) return undefined
          throw error
        },
      ),
    async *read(name, file, signal) {
      const handle = await fs.open(inFolder(name, file))
      const options = { highWaterMark: 1024 * 1024, autoClose: false, ...(signal && { signal }) }
      try {
        for await (const piece of handle.createReadStream(options)) yield piece as Buffer
      } finally {
        await handle.close()
      }
    },
    begin: name => begin(root, name),
    async remove(name) {
      await fs.rm(inFolder(name, manifestFileName), { force: true })
      await fs.rm(path.join(root, name), { recursive: true, force: true })
    },
  }
}

async function begin(root: string, name: string): Promise<CheckpointDraft> {
  const temporary = path.join(root, `${temporaryPrefix}${name}`)
  const discard = async () => {
    await fs.rm(temporary, { recursive: true, force: true }).catch(() => undefined)
    await fs.rm(temporaryLatest(root), { force: true }).catch(() => undefined)
  }
  await fs.mkdir(root, { recursive: true })
  await removeLeftovers(root)
  await fs.mkdir(temporary)
  return {
    write: (file, parts, signal) => writeFile(path.join(temporary, file), parts, signal),
    async publish(manifest) {
      await writeFile(path.join(temporary, manifestFileName), [manifest])
      await syncFolder(temporary)
      const latest = temporaryLatest(root)
      await writeFile(latest, [Buffer.from(`${name}\n`)])
      await moveIntoPlace(root, temporary, name)
      await fs.rename(latest, path.join(root, latestFileName))
      await syncFolder(root)
    },
    discard,
  }
}

/** What a writer that was killed left behind: a folder never finished, or a replaced one whose successor is not in place. */
async function removeLeftovers(root: string): Promise<void> {
  const names = await fs.readdir(root)
  for (const name of names) {
    const restored = name.startsWith(replacedPrefix) ? name.slice(replacedPrefix.length) : undefined
    if (restored !== undefined && !names.includes(restored)) {
      await fs.rename(path.join(root, name), path.join(root, restored))
    } else if (restored !== undefined || name.startsWith(temporaryPrefix)) {
      await fs.rm(path.join(root, name), { recursive: true, force: true })
    }
  }
}

async function moveIntoPlace(root: string, temporary: string, name: string): Promise<void> {
  const folder = path.join(root, name)
  const replaced = path.join(root, `${replacedPrefix}${name}`)
  const isThere = await fs.stat(folder).then(
    () => true,
    () => false,
  )
  if (isThere) await fs.rename(folder, replaced)
  await fs.rename(temporary, folder)
  await syncFolder(root)
  if (isThere) await fs.rm(replaced, { recursive: true, force: true })
}

const temporaryLatest = (root: string) => path.join(root, `${temporaryPrefix}${latestFileName}`)

/** Makes names in a folder durable. Platforms that cannot open a folder (Windows) do it by themselves. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await fs.open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
}
