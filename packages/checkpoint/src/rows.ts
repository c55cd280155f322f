import { SkeinError } from '@skein/core'
import { CheckpointErrors } from './errors.ts'
import type { Manifest } from './manifest.ts'
import type { NamedTensor } from './tensor.ts'

type File = Manifest['files'][number]
type Rows = NonNullable<File['rows']>[string]

/** What a manifest says of the tensors of one file that are rows of larger ones. */
export function rowsOf(tensors: readonly NamedTensor[]): Pick<File, 'rows'> {
  const cut = tensors.flatMap(({ name, shape, rows }): (readonly [string, Rows])[] =>
    rows === undefined ? [] : [[name, { start: rows.start, size: shape[0] ?? 0, of: rows.of }]],
  )
  return cut.length === 0 ? {} : { rows: Object.fromEntries(cut) }
}

/** That of each tensor which files have rows of, all of them together have each row once. @throws SKEIN_CHECKPOINT_ROWS */
export function assertAllRows(files: readonly Pick<File, 'name' | 'rows'>[], checkpoint: string): void {
  const byTensor = Map.groupBy(
    files.flatMap(({ name: file, rows = {} }) =>
      Object.entries(rows).map(([tensor, run]) => ({ tensor, file, ...run })),
    ),
    ({ tensor }) => tensor,
  )
  for (const [tensor, runs] of byTensor) {
    const wrong = whatIsWrong(runs)
    if (wrong !== undefined) throw badRows(checkpoint, tensor, wrong)
  }
}

function whatIsWrong(runs: readonly (Rows & { readonly file: string })[]): string | undefined {
  const [{ of, file: firstFile }] = runs as [(typeof runs)[number]]
  let next = 0
  for (const { file, start, size, of: ofThis } of runs.toSorted((a, b) => a.start - b.start)) {
    if (ofThis !== of) return `${firstFile} has rows of ${of}, ${file} of ${ofThis}`
    if (start > next) return `no file has rows ${next} to ${start - 1}`
    if (start < next) return `row ${start} is in ${file} and in another file`
    next = start + size
  }
  if (next < of) return `no file has rows ${next} to ${of - 1}`
  return next > of ? `it has ${of} rows, and files have ${next}` : undefined
}

export function badRows(checkpoint: string, tensor: string, wrong: string): SkeinError {
  return new SkeinError(CheckpointErrors.ROWS, {
    what: `${checkpoint} does not have ${tensor} whole: ${wrong}`,
    why: 'its parts were written by workers of differently cut models, or its files were put together by hand',
    todo: 'use another checkpoint of the run',
    details: { checkpoint, tensor },
  })
}
