import fs from 'node:fs'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { JobErrors } from './errors.ts'
import { importJobModule } from './import-job-module.ts'
import type { ResolvedJob } from './job-types.ts'
import type { JobOverrides } from './overrides.ts'
import { resolveJob } from './resolve-job.ts'
import { messageOf, unreadable } from './unreadable.ts'

const codeExtensions = ['.ts', '.mts', '.js', '.mjs']
const textExtensions = ['.yaml', '.yml', '.json']

export interface LoadOptions {
  /** The current folder. Default: the process's. */
  readonly cwd?: string
}

/**
 * Reads a job file and resolves it. TypeScript and JavaScript are imported (Node strips the types), YAML and JSON parsed.
 *
 * @throws SKEIN_JOB_NOT_FOUND, SKEIN_JOB_UNREADABLE, and what resolveJob throws
 */
export async function loadJob(
  file: string,
  overrides: JobOverrides = {},
  options: LoadOptions = {},
): Promise<ResolvedJob> {
  const cwd = options.cwd ?? process.cwd()
  const jobFile = path.resolve(cwd, file)
  if (fs.statSync(jobFile, { throwIfNoEntry: false })?.isFile() !== true) throw notFound(jobFile)
  return resolveJob(await readJobFile(jobFile), { jobFile, cwd, overrides })
}

async function readJobFile(jobFile: string): Promise<unknown> {
  const extension = path.extname(jobFile)
  if (codeExtensions.includes(extension)) return importJobModule(jobFile)
  if (!textExtensions.includes(extension)) {
    throw unreadable(
      jobFile,
      `has the extension ${JSON.stringify(extension)}`,
      `a job is a file ending in ${[...codeExtensions, ...textExtensions].join(', ')}`,
    )
  }
  const text = fs.readFileSync(jobFile, 'utf8')
  try {
    if (extension === '.json') return JSON.parse(text)
    const { parse } = await import('yaml')
    return parse(text, { prettyErrors: true })
  } catch (cause) {
    throw unreadable(jobFile, `cannot be parsed: ${messageOf(cause)}`, 'correct the syntax', cause)
  }
}

function notFound(jobFile: string): SkeinError {
  return new SkeinError(JobErrors.NOT_FOUND, {
    what: `there is no job file ${jobFile}`,
    why: 'paths are relative to the current folder',
    todo: 'check the path; the examples are in packages/examples',
    details: { jobFile },
  })
}
