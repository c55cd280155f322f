/**
 * One line of a run's event stream. `event` is the kind; the other fields are those of the --json contract
 * (docs/protocol). Fields are read one by one with the functions below, so an event of a newer coordinator is shown as far as it is understood.
 */
export interface RunEvent {
  readonly event: string
  readonly [field: string]: unknown
}

/** The event of one line, or undefined when the line is not one. Never throws. */
export function parseRunEvent(line: string): RunEvent | undefined {
  if (line.trim() === '') return undefined
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value !== 'object' || value === null || !('event' in value)) return undefined
    return typeof value.event === 'string' ? (value as RunEvent) : undefined
  } catch {
    return undefined
  }
}

export function numberField(event: RunEvent, field: string): number | undefined {
  const value = event[field]
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

export function textField(event: RunEvent, field: string): string | undefined {
  const value = event[field]
  return typeof value === 'string' ? value : undefined
}

export function recordField(event: RunEvent, field: string): Readonly<Record<string, unknown>> | undefined {
  const value = event[field]
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined
}
