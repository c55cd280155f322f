import { randomBytes } from 'node:crypto'
import fs from 'node:fs/promises'
import path from 'node:path'
import { sizeOf, syncFolder } from './folders.ts'
import { removeLeftovers, replacedPrefix, takeAway, takenCodes, writingPrefix } from './leftovers.ts'
import { latestFileName, manifestFileName, stepOf } from './manifest.ts'
import type { CheckpointDraft, SharedDraft } from './store.ts'
import { writeFile } from './write-safetensors.ts'

/** A draft's place beside the checkpoints. Its `id` is of one attempt alone, so that no two writers ever write to the same folder. */
interface Place {
  readonly root: string
  /** Of the checkpoint. */
  readonly name: string
  readonly id: string
}

const draftOf = ({ root, id }: Place) => path.join(root, `${writingPrefix}${id}`)
const latestOf = ({ root, id }: Place) => path.join(root, `${writingPrefix}${latestFileName}-${id}`)
const replacedOf = ({ root, id }: Place) => path.join(root, `${replacedPrefix}${id}`)

/** The draft of one writer. What is left of this generation and of older ones goes: of those nobody writes any more who still counts. */
export async function beginLocally(root: string, name: string, generation: number): Promise<CheckpointDraft> {
  const place = { root, name, id: `${name}-g${generation}-${randomBytes(4).toString('hex')}` }
  const draft = draftOf(place)
  await fs.mkdir(root, { recursive: true })
  await removeLeftovers(root, left => left.generation <= generation)
  await fs.mkdir(draft)
  return {
    suffix: '',
    write: (file, parts, signal) => writeFile(path.join(draft, file), parts, signal),
    publish: manifest => publish(place, manifest),
    tidy: () => removeReplaced(place),
    discard: () => discard(place),
  }
}

/** The draft of all parts that write in one generation. */
export async function joinLocally(root: string, name: string, generation: number): Promise<SharedDraft> {
  const place = { root, name, id: `${name}-g${generation}` }
  const draft = draftOf(place)
  const inDraft = (file: string) => path.join(draft, file)
  await fs.mkdir(draft, { recursive: true })
  return {
    write: (file, parts, signal) => writeFile(inDraft(file), parts, signal),
    sizeOf: file => sizeOf(inDraft(file)),
    read: file => fs.readFile(inDraft(file)),
    async remove(files) {
      for (const file of files) await fs.rm(inDraft(file), { force: true }).catch(() => undefined)
      // The last one to fail takes the folder along.
      await fs.rmdir(draft).catch(() => undefined)
    },
    async publish(manifest, files) {
      for (const file of await fs.readdir(draft)) if (!files.includes(file)) await fs.rm(inDraft(file))
      await publish(place, manifest)
    },
    async tidy() {
      await removeReplaced(place)
      // Each part writes one after the other. Those of a newer generation may be at work.
      await removeLeftovers(
        root,
        left => left.generation < generation || (left.generation === generation && left.step < stepOf(name)),
      )
    },
    discard: () => discard(place),
  }
}

/** The manifest goes into the draft, and the draft into its place. */
async function publish(place: Place, manifest: Uint8Array): Promise<void> {
  const { root, name } = place
  await writeFile(path.join(draftOf(place), manifestFileName), [manifest])
  await syncFolder(draftOf(place))
  await writeFile(latestOf(place), [Buffer.from(`${name}\n`)])
  await moveIntoPlace(place)
  await fs.rename(latestOf(place), path.join(root, latestFileName))
  await syncFolder(root)
}

async function moveIntoPlace(place: Place): Promise<void> {
  const folder = path.join(place.root, place.name)
  for (let attempt = 1; ; attempt++) {
    try {
      await fs.rename(draftOf(place), folder)
      return await syncFolder(place.root)
    } catch (error) {
      // The same step is there: saved before, or just now by another writer, or put back by one while this one was between its two renames.
      const isTaken = error instanceof Error && 'code' in error && takenCodes.includes(String(error.code))
      if (!isTaken || attempt === maxAttempts) {
        await fs.rename(replacedOf(place), folder).catch(() => undefined)
        throw error
      }
    }
    await removeReplaced(place)
    await fs.rename(folder, replacedOf(place)).catch(() => undefined)
  }
}

const maxAttempts = 4

const removeReplaced = (place: Place) => fs.rm(replacedOf(place), { recursive: true, force: true })

async function discard(place: Place): Promise<void> {
  for (const file of [draftOf(place), latestOf(place)])
    await takeAway(place.root, path.basename(file)).catch(() => undefined)
}
