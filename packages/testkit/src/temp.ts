import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** A fresh folder that is removed when the `using` block ends. */
export function temporaryFolder(name: string): { readonly path: string } & Disposable {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), `skein-${name}-`))
  return { path: folder, [Symbol.dispose]: () => fs.rmSync(folder, { recursive: true, force: true }) }
}
