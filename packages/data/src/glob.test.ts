import { expect, test } from 'vitest'
import { globMatcher } from './glob.ts'

const cases: [pattern: string, path: string, matches: boolean][] = [
  ['**', 'a/b/c.txt', true],
  ['*.md', 'README.md', true],
  ['*.md', 'docs/deep/README.md', true],
  ['docs/*.md', 'docs/a.md', true],
  ['docs/*.md', 'docs/deep/a.md', false],
  ['docs/**/*.md', 'docs/a.md', true],
  ['docs/**/*.md', 'docs/x/y/a.md', true],
  ['**/*.d.ts', 'fs.d.ts', true],
  ['**/*.d.ts', 'fs.dots', false],
  ['**/*.{md,txt}', 'a/b.txt', true],
  ['**/*.{md,txt}', 'a/b.ts', false],
  ['?.txt', 'ab.txt', false],
  ['[a-c].txt', 'b.txt', true],
  ['[!a-c].txt', 'b.txt', false],
  ['a+b(c).txt', 'a+b(c).txt', true],
  ['**/.*/**', '.git/config', true],
  ['**/node_modules/**', 'x/node_modules/y/z.js', true],
  ['**/node_modules/**', 'my_node_modules/z.js', false],
]

test.each(cases)('pattern %s on %s: %s', (pattern, path, matches) => {
  expect(globMatcher([pattern])(path)).toBe(matches)
})

test('a pattern that cannot be read is named', () => {
  expect(() => globMatcher(['[z-a].txt'])).toThrow(/"\[z-a\]\.txt" cannot be read/)
})
