import fs from 'node:fs/promises'

/** Makes names in a folder durable. Platforms that cannot open a folder (Windows) do it by themselves. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await fs.open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Undefined where there is no such file. */
export function sizeOf(file: string): Promise<number | undefined> {
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
