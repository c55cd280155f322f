/** Quietest last. `silent` writes nothing. */
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

/**
 * Facts of a line; names carry their units. Fixed names: process `runId workerId incarnation pkg`, membership
 * `generation rank worldSize`, step `step microbatch stage`, op `opSeq op algo dtype elems chunk peer`, result
 * `durMs waitMs bytes outcome code reason`; an error goes under `err`.
 */
export type LogFields = Readonly<Record<string, unknown>>

/** Writes one line; `event` is a fixed dotted name ("lane.opened"), never a sentence with values in it. */
export interface LogMethod {
  (fields: LogFields, event: string): void
  (event: string): void
}

/**
 * Levels by meaning: info = step, generation; debug = op; trace = frame; warn = recovered; error = someone must look.
 * No method blocks or throws; what cannot be written is dropped.
 */
export interface Logger {
  readonly level: LogLevel
  /** To skip gathering facts nobody will read. */
  enabled(level: LogLevel): boolean
  readonly trace: LogMethod
  readonly debug: LogMethod
  readonly info: LogMethod
  readonly warn: LogMethod
  readonly error: LogMethod
  /** The same destination, with these fields on every line. */
  child(bindings: LogFields): Logger
  /** Resolves when everything logged so far is with the operating system, or could not be brought there. */
  flush(): Promise<void>
  /** Flushes and closes the file if this logger opened it; idempotent, and shared by all children. Later lines are dropped. */
  close(): Promise<void>
}
