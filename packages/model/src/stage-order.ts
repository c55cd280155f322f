import { SkeinError } from '@skein/core'
import { ModelErrors } from './errors.ts'
import type { Piece } from './pipeline-stage.ts'

/** What a stage's pass found wrong with the order of passes. */
export function outOfOrder(pass: string, stage: number, { microbatch, slice }: Piece, why: string): SkeinError {
  return new SkeinError(ModelErrors.STAGE_ORDER, {
    what: `${pass} of microbatch ${microbatch}, slice ${slice}, was asked of stage ${stage} out of order`,
    why,
    todo: 'check the schedule: F (R) B W or F (R) BW, each once a piece; slices of a microbatch forward rising, backward falling',
    details: { pass, stage, microbatch, slice },
  })
}
