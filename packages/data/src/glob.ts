import { SkeinError } from '@skein/core'
import { DataErrors } from './errors.ts'

/**
 * A predicate for paths with `/` between their parts. `*` and `?` stay within one part, `**` crosses parts, `{a,b}` and
 * `[a-z]` choose. A pattern without `/` is matched against the last part, so `*.md` means "at any depth".
 * @throws SKEIN_DATA_BAD_PATTERN
 */
export function globMatcher(patterns: readonly string[]): (path: string) => boolean {
  const expressions = patterns.map(globExpression)
  return path => expressions.some(expression => expression.test(path))
}

function globExpression(pattern: string): RegExp {
  let source = pattern.includes('/') ? '' : '(?:[^/]+/)*'
  let depth = 0
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern.charAt(i)
    if (pattern.startsWith('**/', i)) {
      source += '(?:[^/]+/)*'
      i += 2
    } else if (pattern.startsWith('**', i)) {
      source += '.*'
      i += 1
    } else if (c === '*') source += '[^/]*'
    else if (c === '?') source += '[^/]'
    else if (c === '{' && pattern.includes('}', i)) {
      source += '(?:'
      depth += 1
    } else if (c === '}' && depth > 0) {
      source += ')'
      depth -= 1
    } else if (c === ',' && depth > 0) source += '|'
    else if (c === '[' && pattern.includes(']', i + 1)) {
      const end = pattern.indexOf(']', i + 1)
      const body = pattern
        .slice(i + 1, end)
        .replace(/^!/, '^')
        .replaceAll('\\', '\\\\')
      source += `[${body}]`
      i = end
    } else source += c.replace(/[\\^$.*+?()[\]{}|/]/, '\\$&')
  }
  try {
    return new RegExp(`^${source}$`, 'su')
  } catch (cause) {
    throw new SkeinError(DataErrors.BAD_PATTERN, {
      what: `the file pattern ${JSON.stringify(pattern)} cannot be read`,
      todo: 'use * and ? within a name, ** across folders, {a,b} and [a-z] to choose',
      details: { pattern },
      cause,
    })
  }
}
