import fs from 'node:fs'
import path from 'node:path'
import type { RunWhy } from './why.ts'

/** What a failed run leaves for `skein why`, whose coordinator is gone then. */
export const whyFile = 'why.json'

/** Writes the last answer into the folder of the run. */
export function keepWhy(runDir: string, why: RunWhy): void {
  fs.writeFileSync(path.join(runDir, whyFile), `${JSON.stringify(why)}\n`)
}
