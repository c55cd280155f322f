/** Where a generation began. */
export interface Beginning {
  readonly generation: number
  readonly startStep: number
}

/** Whether a state after `step`, made in `generation`, is not the run's any more: a later generation began before it, so what led to it was gone back from. */
export const isGivenUp = (
  generations: readonly Beginning[],
  { generation, step }: { readonly generation: number; readonly step: number },
): boolean => generations.some(later => later.generation > generation && later.startStep < step)
