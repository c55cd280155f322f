import { wrongArgument } from './check-group.ts'

/** The sub-group of one rank along one axis of the mesh. */
export interface AxisGroup {
  readonly axis: string
  /** Ranks of the whole mesh, in the order of their rank in the sub-group. */
  readonly ranks: readonly number[]
  /** This rank's place among them. */
  readonly rank: number
  /** For the lanes: different for every sub-group of the mesh; 0 is the group of all. */
  readonly groupNumber: number
}

/**
 * The sub-groups of `rank`, one for each axis, when the ranks are laid out row by row: the last axis varies fastest. All ranks that
 * differ in this axis alone are in one.
 * @throws SKEIN_COLLECTIVE_ARGUMENT when the rank is not in the mesh
 */
export function axisGroups(mesh: Readonly<Record<string, number>>, rank: number): readonly AxisGroup[] {
  const axes = Object.entries(mesh)
  const total = axes.reduce((product, [, size]) => product * size, 1)
  const isWhole = axes.every(([, size]) => Number.isInteger(size) && size >= 1)
  if (!isWhole || !Number.isInteger(rank) || rank < 0 || rank >= total) {
    throw wrongArgument(`rank ${rank} was looked for in the mesh ${JSON.stringify(mesh)}`, { rank, mesh })
  }
  let firstNumber = 1
  let stride = total
  return axes.map(([axis, size]) => {
    stride /= size
    const place = Math.floor(rank / stride) % size
    const base = rank - place * stride
    // Sub-groups of this axis are numbered by their first rank, without the axis itself.
    const index = Math.floor(base / (stride * size)) * stride + (base % stride)
    const group: AxisGroup = {
      axis,
      ranks: Array.from({ length: size }, (_, i) => base + i * stride),
      rank: place,
      groupNumber: firstNumber + index,
    }
    firstNumber += total / size
    return group
  })
}
