export interface ResponseHead {
  readonly status: number
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>
  /** Bytes up to and including the empty line. */
  readonly headBytes: number
}

/** Reads the head of an HTTP/1.1 response; undefined while its empty line is missing, 'garbage' where it can never be one. */
export function parseResponseHead(bytes: Uint8Array): ResponseHead | 'garbage' | undefined {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  const start = 'HTTP/1.1 '
  if (!start.startsWith(text.slice(0, start.length)) && !text.startsWith(start)) return 'garbage'
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [statusLine = '', ...lines] = text.slice(0, end).split('\r\n')
  const status = /^HTTP\/1\.1 (\d{3})(?: |$)/.exec(statusLine)?.[1]
  if (status === undefined) return 'garbage'
  const headers: Record<string, string> = {}
  for (const line of lines) {
    // Blanks are trimmed apart: a pattern that skips them on both sides takes quadratic time on a line full of them.
    const [, name, value] = /^([!#$%&'*+.^`|~\w-]+):(.*)$/.exec(line) ?? []
    if (name === undefined || value === undefined) return 'garbage'
    headers[name.toLowerCase()] = value.trim()
  }
  return { status: Number(status), headers, headBytes: end + 4 }
}
