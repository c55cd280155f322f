import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'

/** One file of a finished runtime. */
export interface ManifestFile {
  /** Relative to the runtime's folder, with `/`. */
  readonly path: string
  readonly bytes: number
  /** Whole seconds: an image layer or an archive drops the rest. */
  readonly mtimeSeconds: number
  readonly sha256: string
}

/** `manifest.json` of a runtime, written last: a folder without it is not a runtime. */
export interface RuntimeManifest {
  readonly format: 1
  readonly key: string
  /** What TF_Version said when the build was tried. */
  readonly tensorflowVersion: string
  readonly files: readonly ManifestFile[]
}

export type RuntimeCheck =
  | { readonly ok: true; readonly manifest: RuntimeManifest }
  | { readonly ok: false; readonly state: 'missing' | 'damaged'; readonly reason: string }

/** Sizes, times and sha256 of the named files of `folder`. */
export async function describeFiles(folder: string, paths: readonly string[]): Promise<ManifestFile[]> {
  const files: ManifestFile[] = []
  for (const name of paths) {
    const stat = fs.statSync(path.join(folder, name))
    const sha256 = await sha256File(path.join(folder, name))
    files.push({ path: name, bytes: stat.size, mtimeSeconds: Math.floor(stat.mtimeMs / 1000), sha256 })
  }
  return files
}

/**
 * Compares a runtime's folder with its manifest by size and time (four `stat` calls). A file of the right size with
 * another time (a cache that was copied) is compared by hash once per call; `full` compares every file by hash (about 1 s).
 */
export async function checkRuntime(
  dir: string,
  key: string,
  options: { readonly full?: boolean } = {},
): Promise<RuntimeCheck> {
  const read = readManifest(dir, key)
  if (!read.ok) return read
  for (const file of read.manifest.files) {
    const where = path.join(dir, file.path)
    const quick = quickCheck(where, file)
    if (quick === 'wrong-size') return damaged(`${where} is missing or not ${file.bytes} B long`)
    if ((options.full === true || quick === 'other-time') && (await sha256File(where)) !== file.sha256) {
      return damaged(`${where} has another sha256 than when it was built`)
    }
  }
  return read
}

/** As `checkRuntime` without hashing: `other-time` counts as whole. For the load path of a worker, whose starter has checked. */
export function quickCheckRuntime(dir: string, key: string): RuntimeCheck {
  const read = readManifest(dir, key)
  if (!read.ok) return read
  const bad = read.manifest.files.find(file => quickCheck(path.join(dir, file.path), file) === 'wrong-size')
  return bad === undefined ? read : damaged(`${path.join(dir, bad.path)} is missing or not ${bad.bytes} B long`)
}

function quickCheck(where: string, file: ManifestFile): 'same' | 'other-time' | 'wrong-size' {
  const stat = fs.statSync(where, { throwIfNoEntry: false })
  if (stat === undefined || stat.size !== file.bytes) return 'wrong-size'
  return Math.floor(stat.mtimeMs / 1000) === file.mtimeSeconds ? 'same' : 'other-time'
}

function readManifest(dir: string, key: string): RuntimeCheck {
  let text: string
  try {
    text = fs.readFileSync(path.join(dir, 'manifest.json'), 'utf8')
  } catch {
    return { ok: false, state: fs.existsSync(dir) ? 'damaged' : 'missing', reason: `no manifest in ${dir}` }
  }
  let manifest: Partial<RuntimeManifest>
  try {
    manifest = JSON.parse(text) as Partial<RuntimeManifest>
  } catch {
    return damaged(`the manifest in ${dir} is not JSON`)
  }
  if (manifest.format !== 1 || manifest.key !== key || !Array.isArray(manifest.files) || manifest.files.length === 0) {
    return damaged(`the manifest in ${dir} is not one of ${key}`)
  }
  return { ok: true, manifest: manifest as RuntimeManifest }
}

const damaged = (reason: string): RuntimeCheck => ({ ok: false, state: 'damaged', reason })

/** sha256 hex of a file, streamed. */
export async function sha256File(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(fs.createReadStream(file, { highWaterMark: 4 << 20 }), async source => {
    for await (const chunk of source) hash.update(chunk as Buffer)
  })
  return hash.digest('hex')
}
