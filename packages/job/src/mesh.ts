import type { ResolvedJob } from './job-types.ts'

/** Workers of a mesh: one for each part of each replica. */
export const workersOf = ({ dp, pp }: ResolvedJob['mesh']): number => dp * pp
