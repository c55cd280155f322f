/** Whether the same call can succeed later: never, the same op again, or only under a new generation. */
export type Retry = 'never' | 'same-op' | 'next-generation'

/** What a message must say. `details` are values for programs; the three sentences are for people. */
export interface ErrorFacts {
  /** What happened, with the values. */
  readonly what: string
  /** Why it probably happened. */
  readonly why?: string
  /** What to do about it. */
  readonly todo: string
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

/** One row of a package's error table (its `errors.ts`): the code, and when it can be retried. `meaning` feeds docs/errors.md. */
export interface ErrorCode {
  readonly code: `SKEIN_${string}`
  readonly retry: Retry
  readonly meaning: string
}

/** The only error class of the project. Branch on `code`, never on text; `code` and `details` also travel on the wire. */
export class SkeinError extends Error {
  readonly code: string
  readonly retry: Retry
  readonly what: string
  readonly why: string | undefined
  readonly todo: string
  readonly details: Readonly<Record<string, unknown>>

  constructor(row: ErrorCode, facts: ErrorFacts) {
    const why = facts.why === undefined ? '' : ` (${facts.why})`
    super(`${facts.what}${why}. ${facts.todo}`, facts.cause === undefined ? undefined : { cause: facts.cause })
    this.name = 'SkeinError'
    this.code = row.code
    this.retry = row.retry
    this.what = facts.what
    this.why = facts.why
    this.todo = facts.todo
    this.details = facts.details ?? {}
  }

  /** The form that crosses threads, processes and hosts. */
  toJSON(): ErrorRecord {
    return {
      code: this.code,
      retry: this.retry,
      what: this.what,
      ...(this.why === undefined ? {} : { why: this.why }),
      todo: this.todo,
      details: this.details,
    }
  }

  static fromJSON(record: ErrorRecord): SkeinError {
    return new SkeinError(
      { code: record.code as ErrorCode['code'], retry: record.retry, meaning: '' },
      {
        what: record.what,
        todo: record.todo,
        details: record.details,
        ...(record.why === undefined ? {} : { why: record.why }),
      },
    )
  }
}

export interface ErrorRecord {
  readonly code: string
  readonly retry: Retry
  readonly what: string
  readonly why?: string
  readonly todo: string
  readonly details: Readonly<Record<string, unknown>>
}

export const CoreErrors = {
  INTERNAL: {
    code: 'SKEIN_INTERNAL',
    retry: 'never',
    meaning: 'Something that cannot happen happened: a defect of Skein.',
  },
  TIMEOUT: { code: 'SKEIN_TIMEOUT', retry: 'same-op', meaning: 'A bounded wait ran out.' },
  ABORTED: { code: 'SKEIN_ABORTED', retry: 'same-op', meaning: 'The caller cancelled the call through its signal.' },
} as const satisfies Record<string, ErrorCode>

/** Any thrown value as a SkeinError; foreign errors become SKEIN_INTERNAL with the original as cause. */
export function asSkeinError(thrown: unknown): SkeinError {
  if (thrown instanceof SkeinError) return thrown
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return new SkeinError(CoreErrors.INTERNAL, {
    what: message,
    why: 'an error that Skein does not expect here',
    todo: 'report it with the log of this process',
    cause: thrown,
  })
}

/** For the default branch of an exhaustive switch. */
export function assertNever(value: never, where: string): never {
  throw new SkeinError(CoreErrors.INTERNAL, {
    what: `${where} met ${JSON.stringify(value)}`,
    why: 'a case was added without its branch',
    todo: 'add the branch',
  })
}
