import fs from 'node:fs/promises'
import path from 'node:path'
import { byStepDescending, checkpointFolderPattern, latestFileName, manifestFileName } from './manifest.ts'
import type { CheckpointDraft, CheckpointStore, SharedDraft } from './store.ts'
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
    begin: name => begin(root, name),
    join: name => join(root, name),
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
    publish: manifest => publish(root, name, manifest),
    discard,
  }
}

async function join(root: string, name: string): Promise<SharedDraft> {
  const temporary = path.join(root, `${temporaryPrefix}${name}`)
  const inDraft = (file: string) => path.join(temporary, file)
  await fs.mkdir(temporary, { recursive: true })
  return {
    write: (file, parts, signal) => writeFile(inDraft(file), parts, signal),
    sizeOf: file => sizeOf(inDraft(file)),
    read: file => fs.readFile(inDraft(file)),
    async remove(files) {
      for (const file of files) await fs.rm(inDraft(file), { force: true }).catch(() => undefined)
      // The last one to fail takes the folder along.
      await fs.rmdir(temporary).catch(() => undefined)
    },
    async publish(manifest, files) {
      for (const file of await fs.readdir(temporary)) if (!files.includes(file)) await fs.rm(inDraft(file))
      await publish(root, name, manifest)
      await removeOlderLeftovers(root, name)
    },
    discard: () => fs.rm(temporary, { recursive: true, force: true }).catch(() => undefined),
  }
}

/** The manifest goes into the draft, and the draft into its place. */
async function publish(root: string, name: string, manifest: Uint8Array): Promise<void> {
  const temporary = path.join(root, `${temporaryPrefix}${name}`)
  await writeFile(path.join(temporary, manifestFileName), [manifest])
  await syncFolder(temporary)
  const latest = temporaryLatest(root)
  await writeFile(latest, [Buffer.from(`${name}\n`)])
  await moveIntoPlace(root, temporary, name)
  await fs.rename(latest, path.join(root, latestFileName))
  await syncFolder(root)
}

/** Nobody writes an older one any more: each writer writes one after the other. */
async function removeOlderLeftovers(root: string, name: string): Promise<void> {
  for (const other of await fs.readdir(root)) {
    const step = other.startsWith(temporaryPrefix) ? other.slice(temporaryPrefix.length) : ''
    if (checkpointFolderPattern.test(step) && byStepDescending(step, name) > 0)
      await fs.rm(path.join(root, other), { recursive: true, force: true })
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

function sizeOf(file: string): Promise<number | undefined> {
  return fs.stat(file).then(
    stat => stat.size,
    (error: unknown) => {
      if (isMissing(error)) return undefined
      throw error
    },
  )
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
}
