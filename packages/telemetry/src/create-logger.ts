import { nearestName, SkeinError } from '@skein/core'
import pino from 'pino'
import { type Destination, fileDestination, nowhere, streamDestination } from './destination.ts'
import { TelemetryErrors } from './errors.ts'
import { type LogFields, type Logger, type LogLevel, type LogMethod, logLevels } from './logger.ts'

export interface LoggerOptions {
  /** Default `info`. Any of `logLevels`. */
  readonly level?: string
  /** Fields on every line: `runId`, `workerId`, `incarnation`, `pkg`. */
  readonly bindings?: LogFields
  /** Appended to in the background, its folder made; owned and closed by the logger. */
  readonly file?: string
  /** Written to but not closed; used where there is no `file`. Neither of the two: lines go nowhere. */
  readonly stream?: NodeJS.WritableStream
}

/**
 * A logger of one process (or thread): one JSON object a line, `{level, time, pid, …bindings, …fields, event}`.
 * @throws SKEIN_TELEMETRY_LEVEL_UNKNOWN
 */
export function createLogger(options: LoggerOptions = {}): Logger {
  const level = parseLevel(options.level ?? 'info')
  const destination = openDestination(options)
  const root = pino(
    {
      level,
      base: { pid: process.pid, ...options.bindings },
      messageKey: 'event',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      serializers: { err: describeError },
    },
    destination,
  )
  return wrap(root, destination)
}

/** A logger for tests and for callers that give none: every line goes nowhere. */
export const nullLogger: Logger = createLogger({ level: 'silent' })

function openDestination(options: LoggerOptions): Destination {
  if (options.file !== undefined) return fileDestination(options.file)
  if (options.stream !== undefined) return streamDestination(options.stream)
  return nowhere
}

function wrap(inner: pino.Logger, destination: Destination): Logger {
  const method = (level: Exclude<LogLevel, 'silent'>): LogMethod => {
    return (first: LogFields | string, event?: string) => {
      try {
        if (typeof first === 'string') inner[level](first)
        else inner[level](first, event)
      } catch {
        // A field whose getter or toJSON throws: the line is lost, the run is not.
      }
    }
  }
  return {
    level: inner.level as LogLevel,
    enabled: level => level !== 'silent' && inner.isLevelEnabled(level),
    trace: method('trace'),
    debug: method('debug'),
    info: method('info'),
    warn: method('warn'),
    error: method('error'),
    child: bindings => wrap(inner.child(bindings), destination),
    flush: () => destination.flush(),
    close: () => destination.close(),
  }
}

function parseLevel(text: string): LogLevel {
  const level = logLevels.find(known => known === text)
  if (level !== undefined) return level
  const nearest = nearestName(text, logLevels)
  throw new SkeinError(TelemetryErrors.LEVEL_UNKNOWN, {
    what: `log level "${text}" does not exist`,
    todo: `use one of ${logLevels.join(', ')}${nearest === undefined ? '' : `; "${nearest}" is the nearest`}`,
    details: { level: text },
  })
}

/** An error as fields: code and facts of a SkeinError, and the stack of any. */
function describeError(thrown: unknown): unknown {
  if (thrown instanceof SkeinError) return { ...thrown.toJSON(), stack: thrown.stack }
  if (thrown instanceof Error) return { what: thrown.message, stack: thrown.stack }
  return thrown
}
