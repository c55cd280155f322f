import fs from 'node:fs'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import { createLogger, type Logger } from '@skein/telemetry'
import type { CoordinatorConfig } from './config.ts'
import { CoordinatorErrors } from './errors.ts'
import type { Resources } from './resources.ts'

/** Makes what is missing of a run's folder. @throws SKEIN_COORDINATOR_STORE_FAILED */
export function makeFolder(runDir: string): void {
  try {
    fs.mkdirSync(path.join(runDir, 'logs'), { recursive: true })
  } catch (cause) {
    throw new SkeinError(CoordinatorErrors.STORE_FAILED, {
      what: `the run folder ${runDir} cannot be made: ${cause instanceof Error ? cause.message : String(cause)}`,
      why: 'the path is not writable, or a file stands in its way',
      todo: 'choose another run folder',
      details: { runDir },
      cause,
    })
  }
}

/** Given, or one that writes into the folder. */
export function openLogger(
  parts: {
    readonly config: CoordinatorConfig
    readonly logger: Logger | undefined
    readonly logLevel: string | undefined
    readonly resources: Resources
  },
  runDir: string,
): Logger {
  if (parts.logger !== undefined) return parts.logger
  // With etcd another one may write beside it.
  const name = parts.config.etcd === undefined ? 'coordinator.log' : `coordinator-${process.pid}.log`
  const file = path.join(runDir, 'logs', name)
  return parts.resources.own(createLogger({ file, level: parts.logLevel ?? 'info' }), opened => opened.close())
}
