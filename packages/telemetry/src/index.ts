/**
 * The log of a process: JSON lines with fixed fields, written in the background, never blocking or throwing.
 *
 * @example
 * const logger = createLogger({ file: `${runDir}/logs/w0.log`, bindings: { runId, workerId, pkg: 'worker' } })
 * logger.child({ generation, rank }).debug({ opSeq, op: 'all-reduce', bytes, durMs }, 'op.done')
 * await logger.close()
 */
export { createLogger, type LoggerOptions, nullLogger } from './create-logger.ts'
export { TelemetryErrors } from './errors.ts'
export { type LogFields, type Logger, type LogLevel, type LogMethod, logLevels } from './logger.ts'
