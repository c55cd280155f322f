import { registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'
import type { JobInput } from './job-types.ts'
import { messageOf, unreadable } from './unreadable.ts'

/** Names under which a job file may import this package, wherever the file lies. */
const ownNames: ReadonlySet<string> = new Set(['skein', '@skein/job'])

let hooked = false

/** Lets a job file outside of a project import `skein`: where the ordinary search finds nothing, this package answers. */
function answerOwnNames(): void {
  if (hooked) return
  hooked = true
  registerHooks({
    resolve(specifier, context, nextResolve) {
      try {
        return nextResolve(specifier, context)
      } catch (error) {
        if (!ownNames.has(specifier)) throw error
        return { url: new URL('./index.js', import.meta.url).href, shortCircuit: true }
      }
    },
  })
}

/**
 * The default export of a job module, unchecked; its code runs in this process. Used for a job's functions too: a worker
 * imports `moduleFile` to get at them. @throws SKEIN_JOB_UNREADABLE
 */
export async function importJobModule(moduleFile: string): Promise<JobInput> {
  answerOwnNames()
  let module: { readonly default?: unknown }
  try {
    module = (await import(pathToFileURL(moduleFile).href)) as typeof module
  } catch (cause) {
    throw unreadable(
      moduleFile,
      `cannot be imported: ${messageOf(cause)}`,
      'correct the file; `node FILE` shows where',
      cause,
    )
  }
  if (typeof module.default !== 'object' || module.default === null) {
    throw unreadable(moduleFile, 'has no default export that is a job', 'write `export default defineJob({ … })`')
  }
  return module.default as JobInput
}
