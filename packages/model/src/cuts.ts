import { nearestName, SkeinError } from '@skein/core'
import { ModelErrors } from './errors.ts'

/**
 * How many units each stage has, from where the stages after the first one begin: numbers of units, or their names.
 * @throws SKEIN_MODEL_CUT
 */
export function cutsAt(units: readonly string[], boundaries: readonly (number | string)[]): number[] {
  const starts = boundaries.map(at => (typeof at === 'number' ? at : numberOf(units, at)))
  const ends = [...starts, units.length]
  const counts = ends.map((end, stage) => end - (starts[stage - 1] ?? 0))
  if (counts.every(count => Number.isSafeInteger(count) && count >= 1)) return counts
  throw new SkeinError(ModelErrors.CUT, {
    what: `a model of ${units.length} units was to be cut at ${boundaries.join(', ')}`,
    why: `stages would have ${counts.join(', ')} units; each has one at least`,
    todo: `give rising numbers from 1 to ${units.length - 1}, or names in the model's order, each the first unit of a stage but not of the first one`,
    details: { boundaries, numUnits: units.length },
  })
}

function numberOf(units: readonly string[], name: string): number {
  const at = units.indexOf(name)
  if (at >= 0) return at
  const nearest = nearestName(name, units)
  throw new SkeinError(ModelErrors.CUT, {
    what: `a model was to be cut at ${name}, and has no such unit`,
    why: nearest === undefined ? `its units are ${units.join(', ')}` : `the nearest that it has is ${nearest}`,
    todo: "take one of the units' names, or its number, counted from 0",
    details: { name, units },
  })
}
