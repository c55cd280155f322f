import { SkeinError } from '@skein/core'
import { CheckpointErrors } from './errors.ts'

/** A field that two JSON values have differently; `undefined` where one does not have it. */
export interface Difference {
  /** Keys joined by dots: "model.width". */
  readonly path: string
  readonly left: unknown
  readonly right: unknown
}

/** The fields, at any depth, in which two JSON values differ. */
export function jsonDifferences(left: unknown, right: unknown, path = ''): Difference[] {
  if (isObject(left) && isObject(right)) {
    const keys = new Set([...Object.keys(left), ...Object.keys(right)])
    return [...keys].flatMap(key => jsonDifferences(left[key], right[key], path === '' ? key : `${path}.${key}`))
  }
  return JSON.stringify(left) === JSON.stringify(right) ? [] : [{ path, left, right }]
}

/** @throws SKEIN_CHECKPOINT_OTHER_MODEL naming every field in which the job's model differs, with both values */
export function assertSameModel(checkpointPath: string, checkpointModel: unknown, jobModel: unknown): void {
  const differences = jsonDifferences(checkpointModel, jobModel, 'model')
  if (differences.length === 0) return
  const show = (value: unknown) => (value === undefined ? 'not set' : JSON.stringify(value))
  const listed = differences.map(d => `${d.path} is ${show(d.left)} in the checkpoint and ${show(d.right)} in the job`)
  throw new SkeinError(CheckpointErrors.OTHER_MODEL, {
    what: `the checkpoint ${checkpointPath} is of another model: ${listed.join('; ')}`,
    why: 'the job changed after the checkpoint was written, or the path belongs to another run',
    todo: 'go on with the job that wrote it (manifest.json holds it), or start a new run without --resume',
    details: { path: checkpointPath, differences },
  })
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
