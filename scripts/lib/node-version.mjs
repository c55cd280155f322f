// Which Node versions the project runs on. The range stands once, in `engines.node` of the root package.json.

/** Whether `version` ("22.22.1") is in a range of `^22.22`, `>=26` or `24.1.0` terms joined by `||`: all that `engines` uses here. */
export function inRange(version, range) {
  return range.split('||').some(term => matchesTerm(parse(version), term.trim()))
}

function matchesTerm(version, term) {
  const match = /^(\^|>=)?\s*(\d+(?:\.\d+){0,2})$/.exec(term)
  if (match === null) throw new Error(`"${term}" is not a version range that this script knows`)
  const wanted = parse(match[2])
  if (match[1] === '>=') return compare(version, wanted) >= 0
  if (match[1] === '^') return version[0] === wanted[0] && compare(version, wanted) >= 0
  return compare(version, wanted) === 0
}

const parse = text => [0, 1, 2].map(i => Number(text.split('.')[i] ?? 0))

function compare(a, b) {
  for (let i = 0; i < 3; i++) if (a[i] !== b[i]) return a[i] - b[i]
  return 0
}
