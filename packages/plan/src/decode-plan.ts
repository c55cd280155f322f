import { SkeinError } from '@skein/core'
import { PlanErrors } from './errors.ts'
import type { Collective, CollectivePlan, PlanOp, RankSpace } from './plan.ts'
import { planFormat } from './encode-plan.ts'
import { checkPlan } from './validate.ts'

/** What a text may ask of its reader. */
export interface DecodePlanLimits {
  /** Longest text, in UTF-16 units; default 16 Mi. Memory stays within some thirty times that. */
  readonly maxChars?: number
  /** Default 256. */
  readonly maxRanks?: number
  /** Most entries of all lists together; default 1 Mi. */
  readonly maxOps?: number
  /** Most work of the check, see `CheckOptions`; default 2^26, which takes about a second. */
  readonly maxWork?: number
}

/**
 * The plan that a text of `encodePlan` stands for, checked as by `assertValidPlan`; the text may come from anyone. Unknown fields
 * are refused. @throws SKEIN_PLAN_TEXT with the place in the text, SKEIN_PLAN_INVALID for a plan that does not do what it promises
 */
export function decodePlan(text: string, limits: DecodePlanLimits = {}): CollectivePlan {
  const { maxChars = 2 ** 24, maxRanks = 256, maxOps = 2 ** 20, maxWork = 2 ** 26 } = limits
  if (text.length > maxChars) throw unreadable('text', `has ${text.length} characters, more than ${maxChars}`)
  const plan = planFrom(parsed(text), { maxRanks, maxOps })
  const problem = checkPlan(plan, { maxWork })
  if (problem === undefined) return plan
  throw new SkeinError(PlanErrors.INVALID, {
    what: `the plan ${plan.name} that was read is invalid (${problem.kind}): ${problem.message}`,
    why: 'it was changed after it was written, or its writer has another version',
    todo: 'make it again with a generator of this version',
    details: { name: plan.name, ranks: plan.ranks, elems: plan.elems, ...problem },
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw unreadable('text', 'is not JSON', cause)
  }
}

interface Sizes {
  readonly maxRanks: number
  readonly maxOps: number
}

function planFrom(value: unknown, { maxRanks, maxOps }: Sizes): CollectivePlan {
  const fields = fieldsOf(
    value,
    'plan',
    ['format', 'name', 'collective', 'ranks', 'elems', 'ops'],
    ['spaces', 'layers'],
  )
  if (fields['format'] !== planFormat) throw unreadable('format', `is ${short(fields['format'])}, not "${planFormat}"`)
  const name = fields['name']
  if (typeof name !== 'string' || !/^[a-z0-9-]{1,64}$/.test(name)) {
    throw unreadable('name', `is ${short(name)}, not a word of at most 64 small letters, digits and hyphens`)
  }
  const ranks = countFrom(fields['ranks'], 'ranks')
  if (ranks > maxRanks) throw unreadable('ranks', `is ${ranks}, more than ${maxRanks}`)
  const lists = listFrom(fields['ops'], 'ops', ranks)
  let room = maxOps
  const ops = lists.map((list, rank) => {
    const entries = listFrom(list, `ops[${rank}]`)
    room -= entries.length
    if (room < 0) throw unreadable('ops', `has more than ${maxOps} entries`)
    return entries.map((entry, index) => opFrom(entry, `ops[${rank}][${index}]`))
  })
  const { spaces, layers } = fields
  return {
    name,
    collective: collectiveFrom(fields['collective'], ranks),
    ranks,
    elems: countFrom(fields['elems'], 'elems'),
    ops,
    ...(spaces === undefined
      ? {}
      : { spaces: listFrom(spaces, 'spaces', ranks).map((space, rank) => spaceFrom(space, `spaces[${rank}]`)) }),
    ...(layers === undefined ? {} : { layers: countFrom(layers, 'layers') }),
  }
}

function collectiveFrom(value: unknown, ranks: number): Collective {
  const kind = (value as { readonly kind?: unknown } | null | undefined)?.kind
  const where = 'collective'
  switch (kind) {
    case 'all-reduce':
    case 'reduce-scatter':
    case 'all-gather':
    case 'barrier':
      fieldsOf(value, where, ['kind'])
      return { kind }
    case 'broadcast':
    case 'reduce':
    case 'gather':
    case 'scatter':
      return { kind, root: countFrom(fieldsOf(value, where, ['kind', 'root'])['root'], `${where}.root`) }
    case 'all-to-all': {
      const rows = listFrom(fieldsOf(value, where, ['kind', 'counts'])['counts'], `${where}.counts`, ranks)
      const row = (counts: unknown, src: number) =>
        listFrom(counts, `${where}.counts[${src}]`, ranks).map((count, dst) =>
          countFrom(count, `${where}.counts[${src}][${dst}]`),
        )
      return { kind, counts: rows.map(row) }
    }
    default:
      throw unreadable(`${where}.kind`, `is ${short(kind)}, which is no collective`)
  }
}

/** ['send', peer, from, to], ['copy', from, to, at], ['encode', from, to]. */
function opFrom(value: unknown, where: string): PlanOp {
  const [op, ...rest] = listFrom(value, where)
  const length = op === 'encode' ? 2 : 3
  if (rest.length !== length) throw unreadable(where, `has ${rest.length} numbers and not ${length}`)
  const [a, b, c = 0] = rest.map((number, i) => countFrom(number, `${where}[${i + 1}]`)) as [number, number, number?]
  switch (op) {
    case 'send':
    case 'recv':
    case 'recvReduce':
      return { op, peer: a, from: b, to: c }
    case 'copy':
    case 'reduce':
      return { op, from: a, to: b, at: c }
    case 'encode':
      return { op, from: a, to: b }
    default:
      throw unreadable(`${where}[0]`, `is ${short(op)}, which is no op`)
  }
}

function spaceFrom(value: unknown, where: string): RankSpace {
  const [inputElems, outputElems, scratchElems] = listFrom(value, where, 3).map((elems, i) =>
    countFrom(elems, `${where}[${i}]`),
  ) as [number, number, number]
  return { inputElems, outputElems, scratchElems }
}

function fieldsOf(
  value: unknown,
  where: string,
  wanted: readonly string[],
  optional: readonly string[] = [],
): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw unreadable(where, `is ${short(value)}, not an object`)
  }
  const missing = wanted.find(key => !Object.hasOwn(value, key))
  if (missing !== undefined) throw unreadable(where, `has no field "${missing}"`)
  const unknown = Object.keys(value).find(key => !wanted.includes(key) && !optional.includes(key))
  if (unknown !== undefined) throw unreadable(where, `has a field ${short(unknown)}, which is not known`)
  return value as Readonly<Record<string, unknown>>
}

function listFrom(value: unknown, where: string, length?: number): readonly unknown[] {
  if (!Array.isArray(value)) throw unreadable(where, `is ${short(value)}, not a list`)
  if (length === undefined || value.length === length) return value
  throw unreadable(where, `has ${value.length} entries and not ${length}`)
}

function countFrom(value: unknown, where: string): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
  throw unreadable(where, `is ${short(value)}, not a whole number from 0`)
}

function short(value: unknown): string {
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object'
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 40)) : String(value)
}

function unreadable(where: string, wrong: string, cause?: unknown): SkeinError {
  return new SkeinError(PlanErrors.TEXT, {
    what: `a plan cannot be read: ${where} ${wrong}`,
    why: 'it is cut, was changed, or was written by another version',
    todo: 'write it again with encodePlan of this version',
    details: { where },
    ...(cause === undefined ? {} : { cause }),
  })
}
