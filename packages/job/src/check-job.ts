import { SkeinError } from '@skein/core'
import type { z } from 'zod'
import { jobSchema, type ParsedJob } from './config.ts'
import { JobErrors } from './errors.ts'

/** Where keys live that people put into the wrong section: "lr" → "optimizer.lr". */
const homes: Readonly<Record<string, string>> = {
  layers: 'model.layers',
  width: 'model.width',
  heads: 'model.heads',
  context: 'model.context',
  lr: 'optimizer.lr',
  learningRate: 'optimizer.lr',
  betas: 'optimizer.betas',
  weightDecay: 'optimizer.weightDecay',
  clipNorm: 'optimizer.clipNorm',
  warmupSteps: 'optimizer.warmupSteps',
  heldOut: 'data.heldOut',
  include: 'data.include',
  exclude: 'data.exclude',
  global: 'batch.global',
  micro: 'batch.micro',
  batchSize: 'batch.global',
  dp: 'mesh.dp',
  pp: 'mesh.pp',
  chunks: 'schedule.chunks',
  slices: 'schedule.slices',
  recompute: 'schedule.recompute',
  offload: 'schedule.offload',
  vocabulary: 'schedule.vocabulary',
  workers: 'mesh.dp',
  keep: 'checkpoint.keep',
}

/**
 * Checks a job value against the schema and fills in what has a fixed default.
 *
 * @throws SKEIN_JOB_UNKNOWN_KEY or SKEIN_JOB_INVALID with every problem found, each with its path
 */
export function checkJob(value: unknown, where: string): ParsedJob {
  const result = jobSchema.safeParse(value, { reportInput: true })
  if (result.success) return result.data
  const { issues } = result.error
  const unknown = issues.some(issue => issue.code === 'unrecognized_keys')
  const problems = issues.map(describeIssue)
  const missing = problems.some(problem => problem.endsWith('is missing'))
  throw new SkeinError(unknown ? JobErrors.UNKNOWN_KEY : JobErrors.INVALID, {
    what: `${where} is not a valid job: ${problems.join('; ')}`,
    ...(unknown ? { why: 'a key that is not known would have no effect, so it is refused' } : {}),
    todo: unknown ? 'correct or remove the key' : missing ? 'add what is missing' : 'correct the value',
    details: { where, problems, paths: issues.map(issue => dotted(issue.path)) },
  })
}

function describeIssue(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys') {
    if (issue.path.length > 0) return `unknown key in \`${dotted(issue.path)}\`: ${issue.message}`
    const hints = issue.keys.map(key =>
      Object.hasOwn(homes, key) ? `\`${key}\` (did you mean \`${homes[key]}\`?)` : '',
    )
    return `unknown key ${hints.includes('') ? issue.message : hints.join(', ')}`
  }
  // Which of several sections it is, is a fact about the section, not about its `kind`.
  const path = issue.code === 'invalid_union' ? issue.path.filter(key => key !== 'kind') : issue.path
  if (issue.input === undefined) {
    return issue.code === 'custom' ? `\`${dotted(path)}\` ${issue.message}` : `\`${dotted(path)}\` is missing`
  }
  const text = JSON.stringify(issue.input) ?? `a ${typeof issue.input}`
  const value = text.length > 80 ? `${text.slice(0, 80)}…` : text
  return path.length === 0 ? `${value} ${rangeOf(issue)}` : `\`${dotted(path)}\` = ${value} ${rangeOf(issue)}`
}

function rangeOf(issue: z.core.$ZodIssue): string {
  if (issue.code === 'too_small') {
    if (issue.origin === 'string') return 'must not be empty'
    if (issue.origin === 'array')
      return `must have at least ${issue.minimum} ${issue.minimum === 1 ? 'entry' : 'entries'}`
    return `must be ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}`
  }
  if (issue.code === 'too_big' && issue.origin === 'array') return `must have at most ${issue.maximum} entries`
  if (issue.code === 'too_big') return `must be ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}`
  if (issue.code === 'invalid_type')
    return `must be ${issue.expected === 'int' ? 'a whole number' : `of type ${issue.expected}`}`
  if (issue.code === 'invalid_value')
    return `must be one of ${issue.values.map(value => JSON.stringify(value)).join(', ')}`
  return issue.message
}

const dotted = (path: readonly PropertyKey[]) => path.map(String).join('.')
